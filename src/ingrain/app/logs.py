"""Configures logging as text or JSON."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal

import orjson

from ingrain.app.log_output import log_stream, write_all

Style = Literal["text", "json"]
Facts = Mapping[str, object]

_ACCESS = "ingrain.access"
_ATOMIC_BYTES = 4096  # what a pipe takes in one piece, so that lines of several processes do not mix


class _JsonLines(logging.Formatter):
    def __init__(self, process: str | None) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        more: dict[str, object] = {}
        if record.exc_info:
            more["exception"] = self.formatException(record.exc_info)
        return json_line(record.created, record.levelname, record.name, record.getMessage(), self._process, more)


def json_line(
    seconds: float, level: str, logger: str, message: str, process: str | None = None, more: Facts | None = None
) -> str:
    """Return a line of the log as JSON.

    Args:
        seconds: Time in seconds since 1970.
        level: Name of the level.
        logger: Name of the logger.
        message: The message.
        process: Name of the process; None if there is only one.
        more: Further fields.
    """
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    line: dict[str, object] = {
        "time": f"{at}.{int(seconds % 1 * 1000):03d}Z",
        "level": level.lower(),
        "logger": logger,
        "message": message,
    }
    if process is not None:
        line["process"] = process
    # A message may quote bytes that are no text.
    return orjson.dumps(line | dict(more or {}), default=str).decode()


def output_line(text: str) -> str:
    """Return the line of a JSON log for what was written past it."""
    return json_line(time.time(), "info", "ingrain.output", text)


def configure_logs(level: str, style: Style, process: str | None = None) -> None:
    """Send Ingrain's log and the warnings of libraries to standard error.

    Args:
        level: Minimum level of Ingrain's log.
        style: Format of each line.
        process: Name of this process in each line; None if there is only one process.
    """
    handler = logging.StreamHandler(log_stream())
    where = f"%(name)s, {process}" if process is not None else "%(name)s"
    text = logging.Formatter(f"%(asctime)s %(levelname)-7s {where}: %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonLines(process) if style == "json" else text)
    logging.captureWarnings(style == "json")
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("ingrain").setLevel(level.upper())


def access_line_writer(style: Style, process: str | None = None) -> Callable[[list[Facts]], None]:
    """Return what writes lines of the access log to standard error.

    It does not use ``logging``, whose lock would make the event loop wait for a slow reader.

    Args:
        style: Format of each line.
        process: As in ``configure_logs``.
    """
    stream, name = log_stream(), _ACCESS if process is None else f"{_ACCESS}, {process}"

    def line(facts: Facts) -> str:
        fields = {key: value for key, value in facts.items() if value not in (None, "") and key not in _HEAD}
        seconds, message = float(str(facts["time"])), str(facts["message"])
        if style == "json":
            return json_line(seconds, "info", _ACCESS, message, process, fields)
        at = time.strftime("%H:%M:%S", time.localtime(seconds))
        told = " ".join(f"{key}={_plain(value)}" for key, value in fields.items() if key not in _IN_MESSAGE)
        return f"{at} INFO    {name}: {message} {told}"

    def write(group: list[Facts]) -> None:
        piece = b""
        for facts in group:
            data = line(facts).encode("utf-8", "backslashreplace") + b"\n"
            if piece and len(piece) + len(data) > _ATOMIC_BYTES:
                write_all(stream.fileno(), piece)
                piece = b""
            piece += data
        write_all(stream.fileno(), piece)

    return write


_HEAD = frozenset(("time", "message"))
_IN_MESSAGE = frozenset(("method", "route", "status"))


def _plain(value: object) -> str:
    return ",".join(f"{key}:{part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
