"""Where the log is written, and how what other code writes to standard output and error becomes part of a JSON log."""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

_READ_BYTES = 65_536
# Longer lines are divided: output without an end of line would otherwise be kept in memory for ever.
_LONGEST_LINE_BYTES = 1 << 20
_LAST_LINES_S = 1.0
_A_LINE = b'{"time":'  # written by a worker, which has the same log

_own: list[TextIO] = []
_writing = threading.Lock()

log = logging.getLogger("ingrain.output")


def log_stream() -> TextIO:
    """Return the stream of the log: standard error, or what that was before ``take_output``."""
    return _own[0] if _own else sys.stderr


def write_all(descriptor: int, data: bytes) -> None:
    """Write bytes to a file descriptor as one: a pipe takes many in parts, between which threads could write."""
    with _writing:
        while data:
            data = data[os.write(descriptor, data) :]


class _WholePieces(io.FileIO):
    """A file that is written by ``write_all``."""

    def write(self, data: Any) -> int:
        """Write all of the bytes; return their number."""
        write_all(self.fileno(), bytes(data))
        return len(data)


def take_output(line_of: Callable[[str], str]) -> None:
    """Have all that is written to standard output and error, by this process and its workers, become lines of the log.

    Libraries write there past Python's logging. Their lines go through a pipe and a thread. What a library writes right
    before it takes the process along may be lost.

    Args:
        line_of: Makes a line of the log from a line that is none.
    """
    if _own:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(2)
    _own.append(io.TextIOWrapper(_WholePieces(kept, "w"), "utf-8", "backslashreplace", write_through=True))
    reader, writer = os.pipe()
    for descriptor in (1, 2):
        os.dup2(writer, descriptor)
    os.close(writer)
    thread = threading.Thread(target=_relay, args=(reader, kept, line_of), name="output", daemon=True)
    thread.start()
    atexit.register(_give_back, kept, thread)
    _report_by_log()


def _report_by_log() -> None:
    """Log exceptions that nothing has caught, as one line each."""

    def uncaught(kind: type[BaseException], error: BaseException, _trace: object) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.critical("An error has ended the process: %s", error, exc_info=error)

    sys.excepthook = uncaught
    threading.excepthook = lambda told: log.error("A thread has failed", exc_info=told.exc_value)
    sys.unraisablehook = lambda told: log.error("%s", told.err_msg or "An error is ignored", exc_info=told.exc_value)


def _relay(reader: int, kept: int, line_of: Callable[[str], str]) -> None:
    rest = b""
    while data := os.read(reader, _READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _LONGEST_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            _pass_on(line, kept, line_of)
    _pass_on(rest, kept, line_of)


def _pass_on(line: bytes, kept: int, line_of: Callable[[str], str]) -> None:
    if not line.strip():
        return
    # Nobody may read the log any more, or no line can be made of this one: the pipe must be read all the same, for
    # whoever writes there waits when it is full.
    with suppress(Exception):
        told = line if line.startswith(_A_LINE) else line_of(line.decode("utf-8", "replace").rstrip()).encode()
        write_all(kept, told + b"\n")


def _give_back(kept: int, thread: threading.Thread) -> None:
    """Close the pipe at the end of the process, and wait a moment for its last lines."""
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (1, 2):
        os.dup2(kept, descriptor)
    thread.join(_LAST_LINES_S)
