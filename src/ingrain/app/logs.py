"""Configures logging as text or JSON."""

from __future__ import annotations

import logging
import sys
import time
from typing import Literal

import orjson


class _JsonLines(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def __init__(self, process: str | None) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process is not None:
            line["process"] = self._process
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def configure_logs(level: str, style: Literal["text", "json"], process: str | None = None) -> None:
    """Send Ingrain's log and the warnings of libraries to standard error.

    Args:
        level: Minimum level of Ingrain's log.
        style: Format of each line.
        process: Name of this process in each line; None if there is only one process.
    """
    handler = logging.StreamHandler(sys.stderr)
    where = f"%(name)s, {process}" if process is not None else "%(name)s"
    text = logging.Formatter(f"%(asctime)s %(levelname)-7s {where}: %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonLines(process) if style == "json" else text)
    logging.getLogger().handlers = [handler]
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("ingrain").setLevel(level.upper())
