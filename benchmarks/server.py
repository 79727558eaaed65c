"""Starts a server for a benchmark, in its own process and on free ports, and stops it after the benchmark."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from ingrain.bench.server_side import ServerCounts, read_counts, role_of


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    inference_port: int
    model_port: int
    process: subprocess.Popen

    def get(self, path: str) -> dict:
        """Send a GET request to the inference plane and return the JSON response."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.inference_port}{path}") as answer:
            return json.load(answer)

    def counts(self, model: str) -> ServerCounts | None:
        """Return the batch counters of a model; None if there are none."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.inference_port}", trust_env=False) as client:
            return read_counts(client, model, self.inference_port, is_local=False)

    def engine_counts(self, model: str) -> tuple[int, int]:
        """Return the engine's counters of a model's graphs: inferred items, executed batches."""
        names = {model, *(f"{model}/{role}" for role in ("text_encoder", "image_encoder", "sparse_encoder"))}
        found = [one for one in self.get("/metrics")["modelStats"] if one["name"] in names]
        return sum(int(one["inferenceCount"]) for one in found), sum(int(one["executionCount"]) for one in found)

    def cpu_s(self) -> dict[str, float]:
        """Return CPU seconds of the front end, of tritonserver, and of Triton's Python processes."""
        return self.by_role(_seconds)

    def by_role(self, measure: Callable[[psutil.Process], float]) -> dict[str, float]:
        """Return the sum of a measurement over the server's processes, by role of the process."""
        front = psutil.Process(self.process.pid)
        found = {"front end": measure(front), "tritonserver": 0.0, "graphs": 0.0}
        for child in front.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                role = role_of(child)
                found[role] = found.get(role, 0.0) + measure(child)
        return found


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextlib.contextmanager
def running_server(repository: Path, models_dir: Path, model: str, **environment: str) -> Iterator[Server]:
    """Start ``ingrain serve`` with one model, without a cache of vectors, and yield it when it is ready."""
    ports = free_ports(2)
    flags = {
        "repository": repository,
        "local-models-dir": models_dir,
        "models": model,
        "inference-port": ports[0],
        "model-port": ports[1],
        "log-level": "warning",
    }
    arguments = [f"--{flag}={value}" for flag, value in flags.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "ingrain", "serve", *arguments],
        env={**os.environ, "INGRAIN_CACHE_BYTES": "0", **environment},
        stdout=subprocess.DEVNULL,
    )
    server = Server(ports[0], ports[1], process)
    # A benchmark that gets a signal must also stop its server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        deadline = time.monotonic() + 600
        while not _is_ready(server):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not become ready")
            time.sleep(0.2)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _is_ready(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.model_port}/repository_models") as answer:
            models = json.load(answer)["models"]
        failed = [f"{m['name']}: {m['reason']}" for m in models if m["state"] == "UNAVAILABLE" and "reason" in m]
        if failed:
            raise SystemExit("\n".join(failed))
        return bool(server.get("/ready")["ready"])
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
