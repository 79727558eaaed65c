"""The other servers of ``rivals.py``: their environments, their commands and their APIs.

Each kind of server has an environment of its own, made by the first run from a file with all its packages' versions.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from server import free_ports

_HERE = Path(__file__).parent
_START_S = 300.0
_STOP_S = 30.0
# The name and the revision under which sie-server looks for the model in the hub's cache.
_HUB_NAME, _HUB_REVISION = "sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"


@dataclass(frozen=True)
class Environment:
    """The environment of a kind of server.

    Attributes:
        requirements: File in this folder with the packages and their versions.
        python: Program that creates the environment; None for the Python of this program.
        with_dependencies: Whether pip installs what the packages require. False: the file has all packages, because
            what the server's package asks for cannot be had together.
    """

    requirements: str
    python: str | None = None
    with_dependencies: bool = True


@dataclass(frozen=True)
class RivalServer:
    """A server and its API.

    Attributes:
        environment: Key in ``ENVIRONMENTS``.
        arguments: Returns the command from the environment's folder of programs and the models' folders.
        path: Route for embeddings.
        model: Name of the model in requests.
        fields: Further fields of a request.
        health: Route that answers 200 when the server is ready.
        variables: Further environment variables; ``{folder}`` is the folder of all environments.
        returns_same: Whether the server returns what the source library does.
    """

    environment: str
    arguments: Callable[[Path, Models], list[str]]
    path: str = "/embeddings"
    model: str = "model"
    fields: dict[str, Any] = field(default_factory=dict)
    health: str = "/health"
    variables: dict[str, str] = field(default_factory=dict)
    returns_same: bool = True


@dataclass(frozen=True)
class Models:
    """Folders of the model: as sentence-transformers has it, and with a graph for infinity-emb's ONNX engine."""

    source: Path
    onnx: Path


def _infinity(*arguments: str) -> Callable[[Path, Models], list[str]]:
    def command(programs: Path, models: Models) -> list[str]:
        given = [argument.format(source=models.source, onnx=models.onnx) for argument in arguments]
        return [
            *(str(programs / "infinity_emb"), "v2", "--served-model-name=model", "--device=cpu", "--dtype=float32"),
            *("--host=127.0.0.1", "--log-level=warning", *given),
        ]

    return command


ENVIRONMENTS = {
    "infinity": Environment("rivals-requirements.txt"),
    "sie": Environment("rivals-sie-requirements.txt", python="python3.12", with_dependencies=False),
    "vllm": Environment("rivals-vllm-requirements.txt", with_dependencies=False),
}

RIVALS = {
    "plain": RivalServer(
        "infinity",
        lambda programs, models: [str(programs / "python"), str(_HERE / "plain_server.py"), str(models.source)],
        path="/embed",
    ),
    "infinity torch": RivalServer(
        "infinity", _infinity("--model-id={source}", "--engine=torch", "--no-bettertransformer")
    ),
    "infinity torch, BetterTransformer": RivalServer(
        "infinity", _infinity("--model-id={source}", "--engine=torch", "--bettertransformer")
    ),
    "infinity onnx": RivalServer(
        "infinity",
        # The default would pool the first token, and use a quantized graph if there is one.
        _infinity("--model-id={onnx}", "--engine=optimum", "--pooling-method=mean", "--onnx-do-not-prefer-quantized"),
    ),
    "sie-server": RivalServer(
        "sie",
        lambda programs, _: [
            *(str(programs / "sie-server"), "serve", "--host=127.0.0.1", "--device=cpu", "--log-level=error"),
            *(f"--models={_HUB_NAME}", f"--preload={_HUB_NAME}"),
        ],
        path="/v1/embeddings",
        model=_HUB_NAME,
        health="/readyz",
        variables={"HF_HOME": "{folder}/hub"},
    ),
    "vllm": RivalServer(
        "vllm",
        # The program `vllm` of the build for CPUs looks for a package of another name, and does not start.
        lambda programs, models: [
            *(str(programs / "python"), "-m", "vllm.entrypoints.openai.api_server", f"--model={models.source}"),
            *("--served-model-name=model", "--runner=pooling", "--dtype=float32", "--host=127.0.0.1"),
            "--max-model-len=256",
        ],
        path="/v1/embeddings",
        fields={"truncate_prompt_tokens": -1},  # to the longest that the model takes, as the others do
        variables={"VLLM_CPU_KVCACHE_SPACE": "1"},
    ),
}


RERANKERS = {
    "plain reranker": RivalServer(
        "infinity",
        lambda programs, models: [str(programs / "python"), str(_HERE / "plain_reranker.py"), str(models.source)],
        path="/rerank",
    ),
    "infinity torch reranker": RivalServer(
        "infinity", _infinity("--model-id={source}", "--engine=torch", "--no-bettertransformer"), path="/rerank"
    ),
    "infinity onnx reranker": RivalServer(
        "infinity",
        _infinity("--model-id={onnx}", "--engine=optimum", "--onnx-do-not-prefer-quantized"),
        path="/rerank",
        returns_same=False,  # this engine drops the token types, so that BERT takes query and document for one text
    ),
}
"""Servers that rank documents, for ``rerank.py``."""


def prepare(
    folder: Path, name: str, model: Path, pip_args: Sequence[str], servers: Mapping[str, RivalServer] = RIVALS
) -> Models:
    """Create what a server needs below ``folder``, if it is missing: environment, graph, hub cache."""
    rival = servers[name]
    python = create_environment(folder, rival.environment, pip_args)
    onnx = folder / f"{model.name}-onnx"
    if rival.environment == "infinity" and not onnx.exists():
        print("exporting the model for infinity-emb's ONNX engine ...", flush=True)
        subprocess.run([python, _HERE / "rival_onnx.py", model, onnx], check=True)
    if rival.environment == "sie":
        _place_in_hub_cache(model, folder / "hub")
    return Models(model, onnx)


def create_environment(folder: Path, key: str, pip_args: Sequence[str]) -> Path:
    """Return the Python of an environment; create the environment if its file of packages has changed."""
    environment = ENVIRONMENTS[key]
    python, stamp = folder / key / "bin" / "python", folder / f"{key}.txt"
    wanted = (_HERE / environment.requirements).read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        creator = sys.executable if environment.python is None else shutil.which(environment.python)
        if creator is None:
            raise SystemExit(f"{environment.python} is not installed, and {key} needs it")
        print(f"installing {key} into {folder} ...", flush=True)
        subprocess.run([creator, "-m", "venv", "--clear", folder / key], check=True)
        install = [python, "-m", "pip", "install", "-q", "--no-input", *pip_args]
        alone = [] if environment.with_dependencies else ["--no-deps"]
        subprocess.run([*install, *alone, "-r", _HERE / environment.requirements], check=True)
        stamp.write_text(wanted)
    return python


def _place_in_hub_cache(model: Path, home: Path) -> None:
    """Lay the model out as a download from the hub would be."""
    folder = home / "hub" / f"models--{_HUB_NAME.replace('/', '--')}"
    snapshot = folder / "snapshots" / _HUB_REVISION
    if not snapshot.exists():
        shutil.copytree(model, snapshot)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(_HUB_REVISION)


@contextlib.contextmanager
def running(
    folder: Path, name: str, models: Models, servers: Mapping[str, RivalServer] = RIVALS
) -> Iterator[tuple[int, psutil.Process]]:
    """Start a server, and yield its port and its process when it is ready."""
    rival = servers[name]
    (port,) = free_ports(1)
    variables = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    variables |= {key: value.format(folder=folder) for key, value in rival.variables.items()}
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)  # belongs to Ingrain's environment
    command = [*rival.arguments(folder / rival.environment / "bin", models), f"--port={port}"]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(port, rival.health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start; {folder / f'{name}.log'} says why")
            time.sleep(0.5)
        print(f"{name} runs", flush=True)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
