"""Starts a worker's process, and holds what the main process knows of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass, field

from ingrain.app.workers.dispatcher import ConnectionSender
from ingrain.app.workers.messages import Channel, Count, FromWorker
from ingrain.app.workers.shared_counters import SharedTable
from ingrain.engine.embedded.child_process import ChildProcess
from ingrain.server.plane.counts import Counts

# -P keeps the folder that the server was started in off the import path, as for the export's process.
_COMMAND = (sys.executable, "-P", "-m", "ingrain.app.workers.worker")
_LAST_WAIT_S = 5.0


@dataclass(slots=True, eq=False, kw_only=True)
class WorkerProcess:
    """A running worker. The kernel kills it when this process ends.

    Attributes:
        number: Which of the workers it is, from 0.
        process: Its process.
        channel: For messages.
        sender: For connections.
        table: Shared by all.
        is_up: True from the moment that it serves what is to be served; connections are given to such only.
        applied: The last version of the server's state that is in force there.
        missing: Numbers of models that it should have open and could not open.
        counts: What it had counted when it last told.
        asked: How often it was asked for them.
        told: How often it told.
    """

    number: int
    process: ChildProcess
    channel: Channel[FromWorker]
    sender: ConnectionSender
    table: SharedTable
    is_up: bool = False
    applied: int = 0
    missing: frozenset[int] = frozenset()
    counts: Counts = field(default_factory=Counts)
    asked: int = 0
    told: int = 0

    @property
    def open_connections(self) -> int:
        """Connections that it was given and has not closed."""
        return self.sender.sent - self.table.closed(self.number)

    def give(self, connection: socket.socket) -> bool:
        """Pass on an accepted connection; return False if the worker cannot take it now."""
        return self.sender.send(connection)

    def ask_counts(self) -> int:
        """Ask for its counts; return the value that ``told`` has once it has answered."""
        self.channel.send(Count())
        self.asked += 1
        return self.asked

    async def end(self) -> int:
        """Wait for the end of a worker that has closed its channel, or kill it; return its exit code."""
        self.is_up = False
        self.channel.close()
        self.sender.close()
        try:
            async with asyncio.timeout(_LAST_WAIT_S):
                return await asyncio.shield(self.process.exited)
        except TimeoutError:
            self.process.signal(signal.SIGKILL)
            return await asyncio.shield(self.process.exited)


async def start_worker(number: int, workers: int, table: SharedTable, table_descriptor: int) -> WorkerProcess:
    """Start a worker; it waits for ``Setup``.

    Raises:
        OSError: The system has no room for another process.
    """
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        control = _pair(socket.SOCK_STREAM, ours, theirs)
        connections = _pair(socket.SOCK_SEQPACKET, ours, theirs)
        inherited = [control[1].fileno(), connections[1].fileno(), table_descriptor]
        process = ChildProcess(
            [*_COMMAND, *map(str, (number, workers, *inherited))],
            os.environ,
            None,
            pass_fds=inherited,
            death_signal=signal.SIGKILL,
        )
        ours.pop_all()
    return WorkerProcess(
        number=number,
        process=process,
        channel=await Channel.on(FromWorker, control[0]),
        sender=ConnectionSender(connections[0]),
        table=table,
    )


def _pair(
    kind: socket.SocketKind, ours: contextlib.ExitStack, theirs: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    """Make two connected sockets: ours, and the worker's, which is closed here once the worker has inherited it."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    ours.callback(one.close)
    theirs.callback(other.close)
    return one, other
