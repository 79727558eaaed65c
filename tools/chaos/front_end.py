"""A front end (`ingrain serve`) under test, which is started again whenever it ends, as an init system would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

_RESTART_PAUSE_S = 0.2
_LOOK_S = 0.05
_STOP_S = 60.0


@dataclass
class FrontEnd:
    """A running `ingrain serve`.

    Attributes:
        repository: Folder of the model repository.
        flags: Further flags; a change holds from the next start.
        ports: Of the inference plane and of the model plane.
        log: File to which the output of all starts goes.
        environment: Variables besides the harness's own.
        starts: Number of starts.
        exits: Exit code of each process that has ended.
    """

    repository: Path
    flags: Sequence[str]
    ports: tuple[int, int]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    exits: list[int] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _keeper: asyncio.Task[None] | None = None

    @property
    def inference(self) -> str:
        """URL of the inference plane."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def model(self) -> str:
        """URL of the model plane."""
        return f"http://127.0.0.1:{self.ports[1]}"

    @property
    def pid(self) -> int:
        """Process id of the main process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the front end, and keep it running until ``close``."""
        await self._launch()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> int:
        """End the front end with SIGTERM; return its exit code."""
        if self._keeper is not None:
            self._keeper.cancel()
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def kill(self) -> None:
        """Kill the main process; the keeper starts the front end again."""
        assert self._process is not None
        self._process.kill()

    async def terminate(self, seconds: float = _STOP_S) -> int:
        """Send SIGTERM and return the exit code; the keeper starts the front end again.

        Raises:
            TimeoutError: The process is still there after so many seconds.
        """
        assert self._process is not None
        before = len(self.exits)
        self._process.terminate()
        async with asyncio.timeout(seconds):
            while len(self.exits) == before:
                await asyncio.sleep(_LOOK_S)
        return self.exits[-1]

    def children(self, role: str) -> list[psutil.Process]:
        """Return the processes below the main process by role: ``worker``, ``tritonserver`` or ``stub``."""
        return [child for child in descendants(self.pid) if role_of(child) == role]

    async def is_ready(self, client: httpx.AsyncClient) -> bool:
        """Return whether the front end says that it is ready."""
        try:
            return (await client.get(f"{self.inference}/ready", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False

    async def _launch(self) -> None:
        arguments = [f"--repository={self.repository}", *self.flags]
        arguments += [f"--inference-port={self.ports[0]}", f"--model-port={self.ports[1]}"]
        self._process = await asyncio.create_subprocess_exec(
            *_as_an_ordinary_child(),
            *(sys.executable, "-m", "ingrain", "serve", *arguments),
            env={**os.environ, "HF_HUB_OFFLINE": "1", "INGRAIN_CACHE_BYTES": "0", **self.environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.starts += 1

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            await self._copy_output(self._process)
            self.exits.append(await self._process.wait())
            await asyncio.sleep(_RESTART_PAUSE_S)
            await self._launch()

    async def _copy_output(self, process: asyncio.subprocess.Process) -> None:
        """Copy the output through a pipe: a file would be cut short by the faults that limit the size of files."""
        assert process.stdout is not None
        with self.log.open("ab") as log:
            while process.returncode is None:
                with contextlib.suppress(TimeoutError):  # children may hold the pipe open when the process has ended
                    async with asyncio.timeout(_LOOK_S):
                        if not (data := await process.stdout.read(65536)):
                            return
                        log.write(data)
                        log.flush()


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes below a process; none if it has ended."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def role_of(process: psutil.Process) -> str:
    """Return the role of a process below a front end; the empty text for one that has ended or is none of its parts."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        name = process.name()
        if "ingrain.app.workers.worker" in process.cmdline():
            return "worker"
    except psutil.NoSuchProcess:
        return ""
    return "stub" if "stub" in name else "tritonserver" if name == "tritonserver" else ""


def _as_an_ordinary_child() -> tuple[str, ...]:
    """Return the words before a command that end it with this process, and bind it to the permissions of files.

    Otherwise a server that runs as root could write whatever the permissions say.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    root_rights = "-dac_override,-dac_read_search"
    unprivileged = (f"--bounding-set={root_rights}", f"--inh-caps={root_rights}") if os.geteuid() == 0 else ()
    return (setpriv, "--pdeathsig=TERM", *unprivileged)
