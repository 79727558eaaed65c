"""Run in a process of its own: import the modules named as arguments and print, as JSON, what importing them did.

Printed: ``loaded``, the top-level packages in memory afterwards, and ``deeds``, one line for each file written, socket
or process opened and environment variable read by a module of the package under test itself. What a library that it
imports does is the library's affair.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import sysconfig
import threading
from types import FrameType

package, *names = sys.argv[1:]
STDLIB = (sysconfig.get_path("stdlib") + os.sep, "<frozen")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SITE_PACKAGES = f"{os.sep}site-packages{os.sep}"
deeds: list[str] = []


def culprit() -> str | None:
    """Return the file of the package under test whose code, standard library apart, is running right now."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if SITE_PACKAGES in file or not (file.startswith(STDLIB) or file == __file__):
            return file if f"{os.sep}{package}{os.sep}" in file or file.endswith(f"{package}.py") else None
        frame = frame.f_back
    return None


def on_event(event: str, arguments: tuple[object, ...]) -> None:
    """Note a deed; an audit hook sees every one, however it is done."""
    opened_to_write = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITES)
    if opened_to_write or event in {"socket.__new__", "os.mkdir", "subprocess.Popen", "os.fork", "os.posix_spawn"}:
        file = culprit()
        if file:
            deeds.append(f"{file}: {event} {arguments[0]!r}")


class WatchedEnvironment(type(os.environ)):  # type: ignore[misc]
    """The environment, noting who reads it."""

    def __getitem__(self, key: str) -> str:
        file = culprit()
        if file:
            deeds.append(f"{file}: reads {key}")
        return super().__getitem__(key)


sys.addaudithook(on_event)
os.environ.__class__ = WatchedEnvironment
for name in names:
    importlib.import_module(name)
if logging.root.handlers:
    deeds.append("logging has been set up")
deeds.extend(f"thread {thread.name}" for thread in threading.enumerate() if package in (thread.name or ""))
print(json.dumps({"loaded": sorted({name.partition(".")[0] for name in sys.modules}), "deeds": deeds}))
