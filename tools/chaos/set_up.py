"""The ways of running Ingrain to which faults are done: embedded, with workers, and beside one or several Tritons."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from chaos.front_end import FrontEnd, descendants, role_of
from chaos.models import MODELS, PICTURES, write_repository
from chaos.proxy import Proxy
from chaos.triton import ExternalTriton

NAMES = ("embedded", "workers", "external", "tritons")
WORKERS = 3
FRONT_ENDS = 3
"""Front ends beside external Tritons."""
TRITONS = 3
_START_S = 60.0
_LOOK_S = 0.1
# Room for logs and locks beside the repository; a fault fills it.
_DISK_MIB = 64


@dataclass
class SetUp:
    """A running server.

    Attributes:
        name: One of ``NAMES``.
        repository: The repository of all front ends.
        rng: Chooses victims and durations.
        front_ends: One, or several beside external Tritons.
        tritons: The external Tritons.
        proxy: What lies between front ends and the external Triton.
        is_small_disk: Whether the repository lies on a disk of its own that can be filled.
        problems: What faults found wrong besides the clients' answers.
    """

    name: str
    repository: Path
    rng: random.Random
    front_ends: list[FrontEnd] = field(default_factory=list)
    tritons: list[ExternalTriton] = field(default_factory=list)
    proxy: Proxy | None = None
    is_small_disk: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def addresses(self) -> list[str]:
        """URLs of the inference planes."""
        return [front_end.inference for front_end in self.front_ends]

    def processes(self) -> dict[str, psutil.Process]:
        """Return every process by a name that stays the same when it is started again."""
        found: dict[str, psutil.Process] = {}
        for number, front_end in enumerate(self.front_ends):
            prefix = f"{number} " if len(self.front_ends) > 1 else ""
            found[f"{prefix}main"] = psutil.Process(front_end.pid)
            _add_below(found, front_end.pid, prefix)
        for number, triton in enumerate(self.tritons):
            prefix = f"Triton {number} " if len(self.tritons) > 1 else ""
            found[f"{prefix}tritonserver"] = psutil.Process(triton.pid)
            _add_below(found, triton.pid, prefix)
        return found

    def victim(self, role: str) -> psutil.Process:
        """Return a process by role: ``worker``, ``tritonserver`` or ``stub``; of several, any."""
        if role == "tritonserver" and self.tritons:
            return psutil.Process(self.rng.choice(self.tritons).pid)
        below = [one.pid for one in (self.tritons or self.front_ends)]
        found = [child for pid in below for child in descendants(pid) if role_of(child) == role]
        return self.rng.choice(sorted(found, key=lambda process: process.pid))

    async def until_whole(self, seconds: float = _START_S) -> str | None:
        """Wait until every front end is ready, loads and serves the clients' models, and has all workers.

        Returns:
            None, or what was still missing after so many seconds.
        """
        deadline = time.monotonic() + seconds
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            while missing := await self._missing(client):
                if time.monotonic() > deadline:
                    return f"not whole after {seconds:g} s: {missing}"
                await asyncio.sleep(_LOOK_S)
        return None

    async def _missing(self, client: httpx.AsyncClient) -> str | None:
        for number, front_end in enumerate(self.front_ends):
            try:
                ready = await client.get(f"{front_end.inference}/ready")
                if ready.status_code != 200:
                    return f"front end {number} is not ready: {ready.text[:300]}"
                for model in MODELS:
                    answer = await client.post(
                        f"{front_end.inference}/embed_text", json={"name": model, "text": "w1 w2"}
                    )
                    if answer.status_code != 200:
                        return f"front end {number} does not serve {model}: {answer.text[:300]}"
            except httpx.HTTPError as error:
                return f"front end {number} gives {type(error).__name__}"
            if self.name == "tritons" and (up := await _ready_tritons(client, front_end)) != len(self.tritons):
                return f"front end {number} has {up} of {len(self.tritons)} Tritons"
            up = len(front_end.children("worker"))
            if self.name == "workers" and up != WORKERS:
                return f"{up} of {WORKERS} workers"
        return None


@asynccontextmanager
async def running(
    name: str,
    folder: Path,
    rng: random.Random,
    *,
    spares: int = 1,
    pictures: bool = False,
    front_ends: int = FRONT_ENDS,
) -> AsyncIterator[SetUp]:
    """Run a set-up below a folder until the block ends.

    Args:
        name: One of ``NAMES``.
        folder: Gets the repository and the logs.
        rng: Chooses victims and durations.
        spares: Number of models that nobody uses.
        pictures: Whether the model of pictures is loaded.
        front_ends: Number of front ends beside external Tritons.
    """
    repository = folder / "repository"
    repository.mkdir(parents=True)
    is_small_disk = _mount_small_disk(repository)
    set_up = SetUp(name, repository, rng, is_small_disk=is_small_disk)
    try:
        write_repository(repository, spares)
        models = [*MODELS, f"timm:{PICTURES}"] if pictures else MODELS
        flags = [f"--models={','.join(models)}", "--shutdown-timeout-s=10"]
        if name == "external":
            await _start_tritons(set_up, 1)
            set_up.proxy = Proxy(set_up.tritons[0].port, rng)
            await set_up.proxy.start()
            flags += [f"--triton-grpc-url=127.0.0.1:{set_up.proxy.port}", "--triton-backend=python"]
        elif name == "tritons":
            await _start_tritons(set_up, TRITONS)
            addresses = ",".join(f"127.0.0.1:{triton.port}" for triton in set_up.tritons)
            flags += [f"--triton-grpc-url={addresses}", "--triton-backend=python", "--instance-kind=KIND_CPU"]
            flags += ["--model-instances=1"]
        elif name == "workers":
            flags.append(f"--workers={WORKERS}")
        count = front_ends if set_up.tritons else 1
        for number in range(count):
            log = folder / f"front-end-{number}.log"
            # Of several front ends on several Tritons the last one has workers, which choose a Triton themselves.
            has_workers = name == "tritons" and number > 0 and number == count - 1
            own = [*flags, "--workers=2"] if has_workers else flags
            front_end = FrontEnd(repository, own, _free_ports(2), log)
            set_up.front_ends.append(front_end)
            await front_end.start()
        if missing := await set_up.until_whole():
            raise SystemExit(f"{name}: {missing}; see {folder}")
        yield set_up
    finally:
        await _close(set_up)
        if is_small_disk:
            await asyncio.to_thread(subprocess.run, ["umount", "--lazy", str(repository)], check=False)


async def load(set_up: SetUp, name: str) -> httpx.Response:
    """Load a model by the first front end."""
    body = {"library": "sentence_transformers", "name": name}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{set_up.front_ends[0].model}/load_model", json=body)


async def unload(set_up: SetUp, name: str) -> httpx.Response:
    """Unload a model by the first front end."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{set_up.front_ends[0].model}/unload_model", json={"name": name})


async def _start_tritons(set_up: SetUp, count: int) -> None:
    for port in _free_ports(count):
        triton = ExternalTriton(set_up.repository / "triton", port)
        set_up.tritons.append(triton)
        await triton.start()


async def _ready_tritons(client: httpx.AsyncClient, front_end: FrontEnd) -> int:
    """Return how many Tritons a front end has that are ready."""
    metrics = (await client.get(f"{front_end.inference}/metrics", headers={"Accept": "text/plain"})).text
    return sum(
        line.startswith("ingrain_triton_state{") and 'state="READY"' in line and line.endswith(" 1.0")
        for line in metrics.splitlines()
    )


async def _close(set_up: SetUp) -> None:
    for triton in set_up.tritons:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(triton.pid).resume()
    codes = await asyncio.gather(*(front_end.close() for front_end in set_up.front_ends))
    if any(codes):
        set_up.problems.append(f"SIGTERM at the end: exit codes {codes}")
    if set_up.proxy is not None:
        await set_up.proxy.close()
    for triton in set_up.tritons:
        await triton.close()


def _add_below(found: dict[str, psutil.Process], pid: int, prefix: str) -> None:
    for child in descendants(pid):
        try:
            role, command = role_of(child), child.cmdline()
        except psutil.NoSuchProcess:
            continue
        if not command:
            continue  # it has just ended, and its parent has not noticed
        if role == "worker":
            found[f"{prefix}worker {command[-5]}"] = child
        elif role == "stub":
            found[f"{prefix}stub {_graph_of(command)}"] = child
        elif role:
            found[prefix + role] = child


def _graph_of(command: Sequence[str]) -> str:
    """Return the model of a stub: the first argument of its command line is the path of the graph's ``model.py``."""
    return Path(command[1]).parents[1].name.partition(".")[0].rpartition("-")[0]


def _mount_small_disk(folder: Path) -> bool:
    """Mount a small disk in memory at a folder; return False where that is not permitted."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        return False
    command = [mount, "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "ingrain-chaos", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _free_ports(count: int) -> tuple[int, ...]:
    sockets: Sequence[socket.socket] = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)
    finally:
        for one in sockets:
            one.close()
