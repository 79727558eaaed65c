"""Starts a worker process, and holds the main process's state of that worker."""

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

# -P excludes the current folder from the import path, as in the export process.
_COMMAND = (sys.executable, "-P", "-m", "ingrain.app.workers.worker")
_LAST_WAIT_S = 5.0
# Heartbeats come every second, so a worker that hangs gets no new connections after one to two seconds.
_SILENT_AFTER = 2


@dataclass(slots=True, eq=False, kw_only=True)
class WorkerProcess:
    """A running worker. The kernel kills it when this process ends.

    Attributes:
        number: Number of the worker, from 0.
        process: Child process of the worker.
        channel: Channel for messages.
        sender: Sends connections to the worker.
        table: Counters that all workers share.
        is_up: Whether the worker serves the current state; only workers that are up get connections.
        applied: Version of the server's state that the worker has applied.
        first_applied_at: Time of the event loop at which the worker had applied a version for the first time.
        missing: Numbers of models that the worker could not open.
        leaving: Numbers of models that are unloaded when the worker has answered their requests.
        counts: Latest counts that the worker sent.
        asked: Number of ``Count`` messages sent to the worker.
        told: Number of ``Counted`` messages from the worker.
        missed_heartbeats: Number of heartbeats since its last ``Counted`` message.
        answering: The tasks that answer the worker's questions, by the questions' numbers.
    """

    number: int
    process: ChildProcess
    channel: Channel[FromWorker]
    sender: ConnectionSender
    table: SharedTable
    is_up: bool = False
    applied: int = 0
    first_applied_at: float | None = None
    missing: frozenset[int] = frozenset()
    leaving: frozenset[int] = frozenset()
    counts: Counts = field(default_factory=Counts)
    asked: int = 0
    told: int = 0
    missed_heartbeats: int = 0
    answering: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def open_connections(self) -> int:
        """Number of connections that the worker got and has not closed."""
        return self.sender.sent - self.table.closed(self.number)

    @property
    def takes_connections(self) -> bool:
        """Whether new connections may go to the worker: it is up and has answered one of the last heartbeats."""
        return self.is_up and self.missed_heartbeats < _SILENT_AFTER

    def give(self, connection: socket.socket) -> bool:
        """Pass an accepted connection to the worker; return False if it cannot take it now."""
        return self.sender.send(connection)

    def ask_counts(self) -> int:
        """Ask for the worker's counts; return the value of ``told`` after the answer."""
        self.channel.send(Count())
        self.asked += 1
        return self.asked

    def counted(self, counts: Counts) -> None:
        """Store counts that the worker has sent; the worker responds, whichever question they answer."""
        self.counts = counts
        self.told += 1
        self.missed_heartbeats = 0

    async def end(self) -> int:
        """Wait until a worker that has closed its channel exits, or kill it; return the exit code."""
        self.is_up = False
        self.channel.close()
        self.sender.close()
        return await self.process.wait_or_kill(_LAST_WAIT_S)


async def start_worker(
    number: int, workers: int, table: SharedTable, table_descriptor: int, windows_descriptor: int | None
) -> WorkerProcess:
    """Start a worker process, which waits for ``Setup``.

    Args:
        number: Number of the worker, from 0.
        workers: Number of workers.
        table: Counters that all workers share.
        table_descriptor: Their file descriptor.
        windows_descriptor: File descriptor of what the named keys have taken; None if there is no keys file.

    Raises:
        OSError: The system cannot start another process.
    """
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        control = _pair(socket.SOCK_STREAM, ours, theirs)
        connections = _pair(socket.SOCK_SEQPACKET, ours, theirs)
        inherited = [control[1].fileno(), connections[1].fileno(), table_descriptor]
        inherited += [] if windows_descriptor is None else [windows_descriptor]
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
    """Create two connected sockets: ours, and the worker's, which this process closes after the worker inherits it."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    ours.callback(one.close)
    theirs.callback(other.close)
    return one, other
