"""Starts a child process, keeps the last lines of its stderr, and ends it with all its descendants."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ingrain.export.process.memory import MemoryGuard
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.object_storage.store import CREDENTIALS

logger = logging.getLogger("ingrain.export")

_LAST_WAIT_S = 2.0
_POLL_S = 0.05
_LONGEST_LINE_BYTES = 64 << 20
_LONGEST_KEPT_CHARS = 2000

# Not passed on: code that comes with a model must see no secrets. The job on stdin contains the token.
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "INGRAIN_API_KEYS", "INGRAIN_API_KEYS_FILE", "INGRAIN_KEYS_FILE")
_CHILD_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
}


@asynccontextmanager
async def running(
    command: Sequence[str], lines: deque[str], *, token: str | None, grace_s: float, memory: MemoryGuard, on_gpu: bool
) -> AsyncIterator[Process]:
    """Start a process with pipes for stdin, stdout and stderr; end it and its descendants when the context closes.

    Args:
        command: The command line.
        lines: Receives the lines that the process writes to stderr.
        token: Secret to replace by asterisks in these lines.
        grace_s: Seconds to wait for the process to end before it is killed.
        memory: Limits the memory of the process and its descendants; they are killed if they use more.
        on_gpu: True if the process may use a GPU.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=_LONGEST_LINE_BYTES,
            start_new_session=True,
            env=_child_environment(),
        )
    except OSError as error:
        raise_if_machines(error)
        raise
    memory.restrict(process.pid, on_gpu=on_gpu)
    watcher = asyncio.create_task(_end_group_without_memory(process, memory))
    stderr = asyncio.create_task(_keep_stderr(process, lines, token))
    reaper = asyncio.create_task(_end_group_with_leader(process))
    try:
        yield process
    finally:
        watcher.cancel()
        await _end(process, stderr, grace_s)
        reaper.cancel()


async def _keep_stderr(process: Process, lines: deque[str], token: str | None) -> None:
    """Keep the last lines of stderr; each state of a progress bar counts as a line."""
    assert process.stderr is not None
    rest = ""
    while block := await process.stderr.read(1 << 16):
        text = rest + block.decode("utf-8", "replace").replace("\r", "\n")
        if token:
            text = text.replace(token, "***")
        *whole, rest = text.split("\n")
        lines.extend(line[:_LONGEST_KEPT_CHARS] for line in whole if line.strip())
        rest = rest[-_LONGEST_KEPT_CHARS:]
    if rest.strip():
        lines.append(rest)


async def exit_code(process: Process) -> int:
    """Wait for the child's exit. `Process.wait` also waits for its pipes, which descendants may hold open."""
    while process.returncode is None:  # noqa: ASYNC110  asyncio has no event for the exit alone
        await asyncio.sleep(_POLL_S)
    return process.returncode


async def _end_group_with_leader(process: Process) -> None:
    """Kill the child's descendants when the child ends, because they may keep its output open."""
    await exit_code(process)
    _signal_group(process, signal.SIGKILL)


async def _end_group_without_memory(process: Process, memory: MemoryGuard) -> None:
    await memory.watch(process.pid)
    _signal_group(process, signal.SIGKILL)


async def _end(process: Process, stderr: asyncio.Task[None], grace_s: float) -> None:
    """End the child and its descendants, and wait until they are gone."""
    assert process.stdin is not None
    try:
        if process.returncode is None:
            _signal_group(process, signal.SIGTERM)
            async with asyncio.timeout(grace_s):
                await exit_code(process)
    except TimeoutError:
        logger.info("The export process did not end after SIGTERM and is killed.")
    finally:
        # Descendants may still run even if the child itself has ended.
        _signal_group(process, signal.SIGKILL)
        process.stdin.close()
        # With a timeout, because a process that left the group may still hold the pipe open.
        await asyncio.wait([stderr, asyncio.create_task(exit_code(process))], timeout=_LAST_WAIT_S)
        stderr.cancel()


def _signal_group(process: Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # the group is empty


def _child_environment() -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if name not in _SECRETS and not name.startswith(CREDENTIALS)
    }
    return {**inherited, **_CHILD_ENVIRONMENT}
