"""Export processes that start at once: forked from one that has imported torch, which takes longer than small exports.

A server under test starts its export process as always. ``warm/sitecustomize.py`` runs in it before anything else,
hands its files and its environment over to a fork, and ends as that ends; where the server kills it, the fork is
killed. Tests of the start, the end and the memory of export processes leave them cold, and so do those with a hub, as
the libraries read its address when they are imported.
"""

import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch_process import with_torch

FOLDER = Path(__file__).with_name("warm")
_LARGEST_REQUEST = 1 << 17


@contextmanager
def warm_exports(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the variables with which servers and commands under test have their exports forked.

    Args:
        folder: Where a socket can lie.
    """
    address = folder / "exports"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(address))
        listener.listen(16)
        process = with_torch().Process(target=_serve, args=(listener,))
        process.start()
    path = os.pathsep.join(filter(None, (str(FOLDER), os.environ.get("PYTHONPATH"))))
    try:
        yield {"PYTHONPATH": path, "INGRAIN_TESTS_WARM_EXPORTS": str(address)}
    finally:
        process.kill()
        process.join()


def _serve(listener: socket.socket) -> None:
    """Fork a process for each export, and leave its end to the system; end with the test process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    tests = multiprocessing.parent_process()
    assert tests is not None
    while tests.sentinel not in select.select([listener, tests.sentinel], [], [])[0]:
        connection, _ = listener.accept()
        request, files, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, 3)
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(connection, json.loads(request), files)
        connection.close()
        for file in files:
            os.close(file)


def _watch(connection: socket.socket, request: dict[str, Any], files: list[int]) -> None:
    """Fork the export and tell its status; end it when the process that asked for it has ended."""
    export = os.fork()
    if export == 0:
        connection.close()
        _export(request, files)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(export)
    readable, _, _ = select.select([ended, connection], [], [])
    if ended not in readable:
        os.kill(export, signal.SIGKILL)
    _, status = os.waitpid(export, 0)
    if ended in readable:
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _export(request: dict[str, Any], files: list[int]) -> None:
    """Become the process that asked: its files, folder and environment; and export."""
    status = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        sys.stdin = open(0)  # noqa: SIM115  multiprocessing put another file there
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        from ingrain.export.process.worker import main

        status = main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
