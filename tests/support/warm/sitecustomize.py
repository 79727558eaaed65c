"""Hands an export process over to a fork of one that has torch (see ``warm_exports.py``); else it does nothing."""

import os
import sys

if "INGRAIN_TESTS_WARM_EXPORTS" in os.environ and sys.orig_argv[-1] == "ingrain.export.process.worker":
    import json
    import signal
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(os.environ["INGRAIN_TESTS_WARM_EXPORTS"])
        folder = os.getcwd()  # noqa: PTH109  pathlib would cost each start
        request = json.dumps({"folder": folder, "environment": dict(os.environ)})
        socket.send_fds(connection, [request.encode()], [0, 1, 2])
        status = int(connection.recv(64) or 1)
    if status < 0:  # ended by a signal: so do we
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
