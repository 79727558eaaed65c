"""Runs an export job in a child process, reports its progress, and returns the manifest."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import signal
import sys
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from ingrain.errors import (
    ExportCrashedError,
    ExportKilledError,
    ExportTimeoutError,
    ExportUnavailableError,
    IngrainError,
    RequestError,
    SourceError,
    SourceUnavailableError,
)
from ingrain.export.process.child import exit_code, running
from ingrain.export.process.job import Event, ExportJob, Failed, Finished
from ingrain.export.process.memory import DEFAULT_SHARE, MemoryGuard
from ingrain.install_hint import install_hint
from ingrain.machine_faults import RETRY_AFTER_S, machine_fault_in
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest

logger = logging.getLogger("ingrain.export")

WORKER = (sys.executable, "-P", "-m", "ingrain.export.process.worker")
"""``-P`` keeps the current folder off the import path. Otherwise a folder ``triton/`` there, such as this repository's,
would shadow the package of that name that torch imports, and Python files there could be run."""

STALL_S = 300.0
GRACE_S = 5.0

_NEEDED = ("torch", "sentence_transformers", "transformers", "onnx", "onnxscript")
_KEPT_LINES = 400  # enough for the tracebacks of several failed candidates
_LAST_LINES = 20

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def exporter_available() -> str | None:
    """Return why this installation cannot export, or None if it can. Imports nothing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"This installation cannot export models ({', '.join(missing)} missing): {install_hint('export')}, or use "
        "a model that is already in the repository."
    )


async def run_export(
    job: ExportJob,
    *,
    timeout_s: float,
    on_progress: Callable[[Progress], None],
    command: Sequence[str] = WORKER,
    stall_s: float = STALL_S,
    grace_s: float = GRACE_S,
    memory_share: float = DEFAULT_SHARE,
) -> Manifest:
    """Export a model in a child process.

    The child exits when its stdin closes, so it cannot outlive this process. Cancelling this call first ends the child
    and its descendants. The caller must remove what the child wrote to the job's output folder.

    Args:
        job: The export job.
        timeout_s: Timeout for everything but the download.
        on_progress: Called with each step, on the event loop.
        command: The process to start.
        stall_s: Timeout for a download without progress.
        grace_s: Seconds to wait for the child to end before it is killed.
        memory_share: Share of the machine's memory that the child and its descendants may use.

    Returns:
        The manifest of the exported model.

    Raises:
        ExportUnavailableError: This installation has no exporter.
        ExportTimeoutError: The timeout expired.
        ExportCrashedError: The child died without a result.
        ExportKilledError: The child was killed.
        MachineError: The machine lacks memory, disk space or another resource.
        SourceUnavailableError: The download made no progress.
        IngrainError: The error that the child reported, with its class.
    """
    if command is WORKER and (reason := exporter_available()) is not None:
        raise ExportUnavailableError(reason)
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    clock, memory = _Clock(timeout_s=timeout_s, stall_s=stall_s), MemoryGuard(memory_share)
    try:
        start = partial(running, command, lines, token=job.token, grace_s=grace_s, memory=memory, on_gpu=job.on_gpu)
        async with start() as process:
            was_sent = await _send(process, job)
            manifest = await _follow(process, job, clock, on_progress) if was_sent else None
        if manifest is None:  # the child has died before it could begin: another one may not
            async with start() as process:
                await _send(process, job)
                manifest = await _follow(process, job, clock, on_progress)
    except BaseException as error:
        _log(job, lines, error)
        if memory.was_exceeded and isinstance(error, IngrainError):
            raise memory.error(job.name) from error
        if isinstance(error, ExportCrashedError):
            # Rust and C++ code aborts the process instead of raising; only the last lines say why.
            fault = machine_fault_in("\n".join(list(lines)[-_LAST_LINES:]))
            if fault is not None:
                raise fault from error
        raise
    _log(job, lines, None)
    return manifest


class _Clock:
    """Computes the child's deadline: a download may take as long as it makes progress, the rest has one timeout."""

    def __init__(self, *, timeout_s: float, stall_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._stall_s = stall_s
        self._deadline = self._loop.time() + stall_s
        self._downloading = True
        self._last: tuple[str, int] | None = None

    def left_s(self) -> float:
        """Return the seconds until the deadline."""
        return max(0.0, self._deadline - self._loop.time())

    def note(self, progress: Progress) -> None:
        """Move the deadline after progress of a download, or at its end."""
        if progress.phase != "download":
            if self._downloading:
                self._downloading = False
                self._deadline = self._loop.time() + self._timeout_s
        elif self._downloading and self._last != (progress.detail, progress.done):
            self._last = (progress.detail, progress.done)
            self._deadline = self._loop.time() + self._stall_s

    def error(self, name: str) -> IngrainError:
        """Return the error for a missed deadline."""
        if self._downloading:
            return SourceUnavailableError(
                f"The download of {name!r} made no progress for {self._stall_s:g} s. Check the network; the next try "
                "continues where this one stopped.",
                retry_after_s=30.0,
            )
        return ExportTimeoutError(
            f"Exporting {name!r} took longer than {self._timeout_s:g} s (INGRAIN_EXPORT_TIMEOUT_S), not counting the "
            "download."
        )


async def _send(process: Process, job: ExportJob) -> bool:
    """Write the job and leave stdin open; closing it would make the child exit. Return whether the child lived."""
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        await process.stdin.drain()
    except (ConnectionError, RuntimeError):  # uvloop raises the latter for a pipe that is closed
        return False  # `_follow` reports how the child has ended
    return True


async def _follow(process: Process, job: ExportJob, clock: _Clock, on_progress: Callable[[Progress], None]) -> Manifest:
    """Read events from the child until one ends the job."""
    assert process.stdout is not None
    while True:
        try:
            # Not `wait_for`: on Python 3.11 it loses a cancellation that arrives together with a line.
            async with asyncio.timeout(clock.left_s()):
                line = await process.stdout.readline()
        except TimeoutError:
            raise clock.error(job.name) from None
        except ValueError as error:
            raise ExportCrashedError(f"The process that exported {job.name!r} wrote an endless line.") from error
        if not line:
            raise await _death(process, job, clock)
        try:
            event = _decoder.decode(line)
        except msgspec.DecodeError:
            logger.warning("The export process wrote a line that is not an event (%d bytes).", len(line))
            continue
        match event:
            case Progress():
                clock.note(event)
                on_progress(event)
            case Finished(manifest=manifest):
                return manifest
            case Failed():
                raise event.to_error()


async def _death(process: Process, job: ExportJob, clock: _Clock) -> IngrainError:
    """Return the error for a child whose output ended without a result."""
    try:
        async with asyncio.timeout(clock.left_s()):
            code = await exit_code(process)
    except TimeoutError:
        return clock.error(job.name)
    if code >= 0:
        return ExportCrashedError(
            f"The process that exported {job.name!r} ended with status {code} and no result; the server's log has its "
            "last lines."
        )
    if code == -signal.SIGKILL:
        return ExportKilledError(
            f"The process that exported {job.name!r} was killed (SIGKILL), usually because memory ran out: export a "
            "smaller model, or give the server more memory.",
            retry_after_s=RETRY_AFTER_S,
        )
    return ExportCrashedError(
        f"The process that exported {job.name!r} was ended by {_signal_name(-code)}. The server's log has its last "
        "lines."
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _log(job: ExportJob, lines: deque[str], failure: BaseException | None) -> None:
    """Log the child's output after a failure; error messages refer to it."""
    expected = failure is None or isinstance(failure, asyncio.CancelledError)
    refused = isinstance(failure, RequestError | SourceError)
    level = logging.DEBUG if expected else logging.WARNING if refused else logging.ERROR
    if lines and logger.isEnabledFor(level):
        logger.log(level, "The export of %r wrote:\n%s", job.name, "\n".join(lines))
