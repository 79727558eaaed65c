"""Faults of the disk that holds the repository; meanwhile models are loaded and unloaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from chaos.faults.registration import fault
from chaos.models import SPARE
from chaos.set_up import SetUp, load, unload

_SERVER_ERRORS = (500, 502)


@fault()
async def full_disk(set_up: SetUp) -> float:
    """Fill the disk of the repository; done only where a small disk may be mounted."""
    if not set_up.is_small_disk:
        return 0
    filler = set_up.repository / "filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        await _load_and_unload(set_up, "a full disk")
    finally:
        filler.unlink()
    await _must_work_again(set_up)
    return 0


@fault()
async def unwritable_disk(set_up: SetUp) -> float:
    """Take the right to write away from every folder of the repository."""
    with _read_only(set_up.repository):
        await _load_and_unload(set_up, "an unwritable disk")
    await _must_work_again(set_up)
    return 0


@fault()
async def limited_files(set_up: SetUp) -> float:
    """Limit the size of files of the main process to nothing, as ``ulimit -f 0`` does."""
    process = psutil.Process(set_up.front_ends[0].pid)
    before = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        await _load_and_unload(set_up, "a limit on the size of files")
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, before)
    await _must_work_again(set_up)
    return 0


@fault()
async def damaged_list(set_up: SetUp) -> float:
    """Damage or empty the list of models, and kill a main process: the next start sets the list aside."""
    path = set_up.repository / "desired.json"
    content = path.read_bytes()
    path.write_bytes(set_up.rng.choice((b"", content[: len(content) // 2], b"\0" * len(content))))
    os.kill(set_up.front_ends[0].pid, signal.SIGKILL)
    return 0


async def _load_and_unload(set_up: SetUp, what: str) -> None:
    """Load and unload a model; every answer must be a success, or say that the disk is the reason."""
    for do in (load, unload):
        answer = await do(set_up, SPARE)
        if answer.status_code in _SERVER_ERRORS:
            set_up.problems.append(f"/{do.__name__}_model on {what} answered {answer.status_code}: {answer.text[:300]}")


async def _must_work_again(set_up: SetUp) -> None:
    """Load and unload a model on a disk that works."""
    for do in (load, unload):
        for _ in range(20):
            answer = await do(set_up, SPARE)
            if answer.status_code == 200:
                break
            await asyncio.sleep(0.5)
        else:
            set_up.problems.append(f"/{do.__name__}_model fails on a mended disk: {answer.text[:300]}")


@contextmanager
def _read_only(root: Path) -> Iterator[None]:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in folders}
    try:
        for folder, mode in modes.items():
            folder.chmod(mode & ~0o222)
        yield
    finally:
        for folder, mode in modes.items():
            with contextlib.suppress(FileNotFoundError):
                folder.chmod(mode)
