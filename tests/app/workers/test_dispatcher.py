"""Connections of the one port go to whoever has the fewest, and wait while there is nobody."""

import asyncio
import socket

import pytest

from ingrain.app.listen import open_socket
from ingrain.app.workers.dispatcher import ConnectionReceiver, ConnectionSender, Dispatcher

pytestmark = pytest.mark.both_loops


class Taker:
    """Takes connections as a worker does: over a socket pair."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sender = ConnectionSender(ours)
        self.taken: list[socket.socket] = []
        self.closed = 0
        self.is_full = False
        self.receiver = ConnectionReceiver(theirs, self.taken.append, lambda: None)

    @property
    def open_connections(self) -> int:
        return self.sender.sent - self.closed

    def give(self, connection: socket.socket) -> bool:
        return not self.is_full and self.sender.send(connection)

    def drop(self) -> None:
        self.taken.pop().close()
        self.closed += 1

    def close(self) -> None:
        self.receiver.close()
        self.sender.close()
        while self.taken:
            self.drop()


class Port:
    """A listening port with takers behind it."""

    def __init__(self, takers: int) -> None:
        self.takers = [Taker() for _ in range(takers)]
        self.present = list(self.takers)
        self.listener = open_socket("127.0.0.1", 0, "a test's port")
        self.port = self.listener.getsockname()[1]
        self.dispatcher = Dispatcher(self.listener, lambda: self.present)
        self.callers: list[socket.socket] = []

    async def __aenter__(self):
        self.dispatcher.wake()
        return self

    async def __aexit__(self, *_):
        self.dispatcher.close()
        for end in (*self.takers, *self.callers):
            end.close()

    async def call(self, times: int) -> None:
        for _ in range(times):
            self.callers.append(socket.create_connection(("127.0.0.1", self.port)))
            await asyncio.sleep(0.01)

    async def until(self, counts: list[int]) -> None:
        async with asyncio.timeout(60):
            while [len(taker.taken) for taker in self.takers] != counts:
                await asyncio.sleep(0.01)


async def test_connections_are_spread_evenly_and_go_where_some_have_been_closed():
    async with Port(3) as port:
        await port.call(9)
        await port.until([3, 3, 3])
        for _ in range(2):
            port.takers[1].drop()
        await port.call(2)
        await port.until([3, 3, 3])


async def test_a_connection_that_was_handed_over_works():
    async with Port(2) as port:
        await port.call(1)
        await port.until([1, 0])
        port.takers[0].taken[0].sendall(b"hello")
        assert port.callers[0].recv(5) == b"hello"


async def test_connections_wait_while_there_is_nobody():
    async with Port(1) as port:
        port.present.clear()
        await port.call(3)  # the first is noticed, the others too are left in the kernel's queue
        await port.until([0])
        port.present.append(port.takers[0])
        port.dispatcher.wake()
        await port.until([3])


async def test_one_that_takes_none_is_passed_over_and_none_is_lost_when_nobody_does():
    async with Port(2) as port:
        port.takers[0].is_full = True
        await port.call(3)
        await port.until([0, 3])
        port.takers[1].is_full = True
        await port.call(3)
        await port.until([0, 3])
        port.takers[0].is_full = False
        await port.until([3, 3])


async def test_one_that_is_gone_is_passed_over():
    async with Port(2) as port:
        gone = port.takers[0]
        gone.close()
        await port.call(2)
        await port.until([0, 2])
        port.takers.remove(gone)


async def test_after_the_end_callers_are_refused():
    async with Port(1) as port:
        port.dispatcher.close()
        try:
            await port.call(1)
        except ConnectionRefusedError:
            return
        raise AssertionError("somebody still listens")


async def test_those_that_wait_at_the_end_are_passed_on():
    async with Port(2) as port:
        port.callers += [socket.create_connection(("127.0.0.1", port.port)) for _ in range(200)]  # no turn of the loop
        port.dispatcher.close()
        await port.until([100, 100])
