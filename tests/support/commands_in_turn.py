"""Runs command lines one after the other in this process, for a test that would else pay a start for each.

Reads a list of ``[arguments, environment, missing package or null]`` as JSON; writes what each printed, with its exit
status and the seconds of processor time that it took. A connection to any address but the loopback is an error.
"""

import contextlib
import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from unittest import mock

from ingrain.cli.main import main

CONNECT = socket.socket.connect


def connect(self: socket.socket, address: object) -> None:
    """Connect within this machine."""
    assert isinstance(address, str) or address[0] in ("127.0.0.1", "::1"), f"a mistake made it ask {address}"
    CONNECT(self, address)


@contextlib.contextmanager
def without(package: str | None) -> Iterator[None]:
    """Hide a package that nothing has imported yet, as if it were not installed."""
    if package is not None:
        assert package not in sys.modules
        sys.modules[package] = None  # type: ignore[assignment]  # so that an import of it fails
    yield
    sys.modules.pop(package or "", None)


def run(arguments: list[str], environment: dict[str, str], package: str | None) -> dict[str, object]:
    """Run one command line."""
    said, began = io.StringIO(), time.process_time()
    streams = contextlib.redirect_stdout(said), contextlib.redirect_stderr(said)
    with mock.patch.dict(os.environ, environment), without(package), streams[0], streams[1]:
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    return {"status": status, "said": said.getvalue(), "cpu_s": time.process_time() - began}


if __name__ == "__main__":
    socket.socket.connect = connect
    print(json.dumps([run(*row) for row in json.load(sys.stdin)]))
