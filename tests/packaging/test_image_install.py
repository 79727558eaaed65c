"""The steps that build the `serve` image, carried out in an empty environment: the result serves, without torch."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
from dockerfile_stages import environment, lineage, read_stages

ROOT = Path(__file__).parents[2]
STAGES = read_stages(ROOT / "Dockerfile")
INSTALL_STAGE = "serve-install"
FOLDERS = ("/opt/ingrain", "/build")  # of the image; below a temporary folder here
SOURCE_LIBRARIES = ("torch", "torchvision", "transformers", "sentence_transformers", "open_clip", "timm", "onnx")


class EmptyMachine:
    """A folder that stands for the image's file system, with the Python that these tests run on as its own.

    ``variables`` are those of the machine outside, with which pip reaches its index.
    """

    def __init__(self, root: Path, variables: Mapping[str, str]) -> None:
        self.root = root
        tools = root / "usr" / "bin"
        tools.mkdir(parents=True)
        (tools / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
        outer = {name: value for name, value in variables.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        outer["PATH"] = f"{tools}:/usr/bin:/bin"
        outer["PIP_NO_COMPILE"] = "1"  # few of the modules are imported here
        self.variables = environment(lineage(STAGES, INSTALL_STAGE), outer)
        self.variables = {name: self.here(value) for name, value in self.variables.items()}
        self.workdir = root

    def here(self, text: str) -> str:
        """Replace the image's folders by ours."""
        for folder in FOLDERS:
            text = re.sub(rf"(?<![\w/]){folder}\b", f"{self.root}{folder}", text)
        return text

    def carry_out(self, kind: str, text: str) -> None:
        """Carry out one instruction; those that only describe the image do nothing."""
        if kind == "WORKDIR":
            self.workdir = Path(self.here(text))
            self.workdir.mkdir(parents=True)
        elif kind == "COPY":
            *sources, target = shlex.split(text)
            for source in sources:
                place = self.workdir / target
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, dirs_exist_ok=True)
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, place)
        elif kind == "RUN":
            command = self.here(re.sub(r"--mount=\S+ ", "", text))
            done = subprocess.run(
                ["sh", "-ec", command], cwd=self.workdir, env=self.variables, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def run(self, *command: str) -> str:
        """Run a command that the steps have installed, away from the sources, and return what it printed."""
        done = subprocess.run(
            command, cwd=self.root, env=self.variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def executable(self, name: str) -> str:
        """Return the path of a program of the installed environment."""
        return f"{self.root}/opt/ingrain/bin/{name}"


@pytest.fixture(scope="module")
def image(tmp_path_factory, one_authority):
    machine = EmptyMachine(tmp_path_factory.mktemp("image"), one_authority)
    for stage in lineage(STAGES, INSTALL_STAGE):
        for kind, text in stage.steps:
            machine.carry_out(kind, text)
    return machine


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(port: int, path: str, body: object | None = None) -> tuple[int, dict[str, object]]:
    """Call the server; return status and parsed body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
def test_the_slim_image_has_no_torch(image):
    """None of the source libraries is installed, and each installed version is the one of the constraints file."""
    names = ", ".join(repr(name) for name in SOURCE_LIBRARIES)
    found = image.run(
        image.executable("python"), "-c", f"import importlib.util as u; print([n for n in ({names}) if u.find_spec(n)])"
    )
    assert found.strip() == "[]"
    pinned = set((ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").lower().splitlines())
    freeze = image.run(image.executable("python"), "-m", "pip", "freeze", "--exclude", "ingrain").lower()
    installed = {line.replace("_", "-") for line in freeze.splitlines()}
    assert {"httptools", "onnxruntime"} <= {line.partition("==")[0] for line in installed}
    assert installed - pinned == set()


@pytest.mark.slow
def test_the_slim_image_serves_and_says_that_it_cannot_convert(image, tmp_path):
    """The installed command starts, passes the image's own health check, and refuses a new model with the reason."""
    assert "serve" in image.run(image.executable("ingrain"), "--help")
    port, model_port = free_port(), free_port()
    flags = {"inference-port": port, "model-port": model_port, "engine": "onnxruntime", "repository": tmp_path / "r"}
    server = subprocess.Popen(
        [image.executable("ingrain"), "serve", *(word for k, v in flags.items() for word in (f"--{k}", str(v)))],
        env=image.variables,
        cwd=tmp_path,
    )
    try:
        health = [sys.executable, ROOT / "docker" / "health.py"]
        environ = {"INGRAIN_INFERENCE_PORT": str(port)}
        deadline = time.monotonic() + 30
        while subprocess.run(health, env=environ, capture_output=True).returncode != 0:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "no answer on /health within 30 s"
            time.sleep(0.2)
        status, answer = call(model_port, "/load_model", {"name": "x/y", "library": "sentence_transformers"})
        assert status >= 400
        assert answer["error"]["code"] == "export_unavailable"
        assert ".[export]" in answer["message"]
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0
