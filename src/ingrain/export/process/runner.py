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
from ingrain.install_hint import install_hint
from ingrain.machine_faults import RETRY_AFTER_S, machine_fault_in
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest

logger = logging.getLogger("ingrain.export")

WORKER = (sys.executable, "-P", "-m", "ingrain.export.process.worker")
"""``-P`` keeps the folder that the server was started in off the import path: a folder ``triton/`` there, such as the
repository's own, would be taken for torch's package of that name, and any Python file there would be run."""

STALL_S = 300.0
GRACE_S = 5.0

_NEEDED = ("torch", "sentence_transformers", "transformers", "onnx", "onnxscript")
_KEPT_LINES = 400  # the tracebacks of several ways that failed
_LAST_LINES = 20

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def exporter_available() -> str | None:
    """Return why this installation cannot export, or None where it can. Nothing is imported."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"This installation cannot export models ({', '.join(missing)} missing): {install_hint('export')}, or use "
        "a model that is in the repository already."
    )


async def run_export(
    job: ExportJob,
    *,
    timeout_s: float,
    on_progress: Callable[[Progress], None],
    command: Sequence[str] = WORKER,
    stall_s: float = STALL_S,
    grace_s: float = GRACE_S,
) -> Manifest:
    """Export a model in a child process.

    The child ends with this process, however that ends: it holds its own end of stdin, and leaves when the other end
    closes. Cancelling this call ends the child and all that it started before the cancellation is passed on. What the
    child has written to the job's output folder is the caller's to remove.

    Args:
        job: What to export, and where to.
        timeout_s: Seconds that all but the download may take.
        on_progress: Called with each step, on the event loop.
        command: The process to start.
        stall_s: Seconds that a download may go without progress.
        grace_s: Seconds that the child has to end before it is killed.

    Returns:
        The manifest of what lies in the output folder.

    Raises:
        ExportUnavailableError: This installation has no exporter.
        ExportTimeoutError: The deadline has passed.
        ExportCrashedError: The child died without a result.
        ExportKilledError: It was killed.
        MachineError: The machine lacked something, for the child or to start it.
        SourceUnavailableError: The download stood still.
        IngrainError: What the child reported, as the class that it was there.
    """
    if command is WORKER and (reason := exporter_available()) is not None:
        raise ExportUnavailableError(reason)
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    clock = _Clock(timeout_s=timeout_s, stall_s=stall_s)
    try:
        async with running(command, lines, token=job.token, grace_s=grace_s) as process:
            await _send(process, job)
            manifest = await _follow(process, job, clock, on_progress)
    except BaseException as error:
        _log(job, lines, error)
        if isinstance(error, ExportCrashedError):
            # Rust and C++ end the process where Python raises, and only what they write last says why.
            fault = machine_fault_in("\n".join(list(lines)[-_LAST_LINES:]))
            if fault is not None:
                raise fault from error
        raise
    _log(job, lines, None)
    return manifest


class _Clock:
    """Knows how long the child may still take: a download as long as it moves, the rest until the deadline."""

    def __init__(self, *, timeout_s: float, stall_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._stall_s = stall_s
        self._deadline = self._loop.time() + stall_s
        self._downloading = True
        self._last: tuple[str, int] | None = None

    def left_s(self) -> float:
        """Return the seconds until the child is too late."""
        return max(0.0, self._deadline - self._loop.time())

    def note(self, progress: Progress) -> None:
        """Move the deadline where this progress says so."""
        if progress.phase != "download":
            if self._downloading:
                self._downloading = False
                self._deadline = self._loop.time() + self._timeout_s
        elif self._downloading and self._last != (progress.detail, progress.done):
            self._last = (progress.detail, progress.done)
            self._deadline = self._loop.time() + self._stall_s

    def error(self, name: str) -> IngrainError:
        """Return what being too late means now."""
        if self._downloading:
            return SourceUnavailableError(
                f"The download of {name!r} made no progress for {self._stall_s:g} s. Check the network; what was "
                "fetched is kept, and the next try goes on from there.",
                retry_after_s=30.0,
            )
        return ExportTimeoutError(
            f"Exporting {name!r} took longer than {self._timeout_s:g} s (INGRAIN_EXPORT_TIMEOUT_S), download apart."
        )


async def _send(process: Process, job: ExportJob) -> None:
    """Write the job and leave stdin open: its end would tell the child that nobody wants the result any more."""
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(job) + b"\n")
    try:
        await process.stdin.drain()
    except ConnectionError:
        # The child died at once. How it died is told when its output ends.
        return


async def _follow(process: Process, job: ExportJob, clock: _Clock, on_progress: Callable[[Progress], None]) -> Manifest:
    """Read events until one ends the job."""
    assert process.stdout is not None
    while True:
        try:
            # Not `wait_for`: on Python 3.11 it loses a cancellation that comes together with a line.
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
            logger.warning("The export process wrote a line that is no event (%d bytes).", len(line))
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
    """Return the error of a child whose output has ended without a result."""
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
            f"The process that exported {job.name!r} was ended by SIGKILL. Most often that is the system's answer to "
            "too little memory: export a smaller model, or give more memory.",
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
    """Log what the child wrote where it failed, for whatever reason: messages send their readers here."""
    expected = failure is None or isinstance(failure, asyncio.CancelledError)
    refused = isinstance(failure, RequestError | SourceError)
    level = logging.DEBUG if expected else logging.WARNING if refused else logging.ERROR
    if lines and logger.isEnabledFor(level):
        logger.log(level, "The export of %r wrote:\n%s", job.name, "\n".join(lines))
