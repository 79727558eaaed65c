"""The messages between the main process and a worker, and the stream that carries them."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ingrain.engine.placement import Placement
from ingrain.engine.protocol import GraphStatistics
from ingrain.engine.triton.address import EngineAddress
from ingrain.registry.snapshot import RegistryView
from ingrain.server.plane.counts import Counts
from ingrain.settings import Settings

_LENGTH_BYTES = 4


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """The first message: settings with the keys, where graphs run, and how many batches the engine runs at a time."""

    settings: Settings
    placement: Placement
    instances: int


class Follow(msgspec.Struct, frozen=True, kw_only=True, tag="follow"):
    """The whole state of the server, sent each time that it has changed; it replaces every earlier one.

    Attributes:
        version: Grows with each change.
        view: The models.
        everywhere: Numbers of the models that all workers have open.
        engine: Where the engine is reached; None while it is away.
        starting: Why the server is not ready yet as a whole, or None.
    """

    version: int
    view: RegistryView
    everywhere: frozenset[int] = frozenset()
    engine: EngineAddress | None = None
    starting: str | None = None


class Count(msgspec.Struct, frozen=True, tag="count"):
    """Asks for ``Counted``. It is sent every second, and a worker that does not answer is killed."""


class Refreshed(msgspec.Struct, frozen=True, tag="refreshed"):
    """Answers ``AskRefresh``, after a ``Follow`` with what has changed."""

    number: int
    changed: bool


class Totals(msgspec.Struct, frozen=True, tag="totals"):
    """Answers ``AskTotals``: what all processes have counted."""

    number: int
    counts: Counts


class EngineStatistics(msgspec.Struct, frozen=True, tag="statistics"):
    """Answers ``AskStatistics``: the engine's statistics, or its error."""

    number: int
    graphs: list[GraphStatistics] = []
    error: str | None = None


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """Tells the worker to take no more connections, finish requests for ``grace_s`` seconds, and end."""

    grace_s: float


Answer = Refreshed | Totals | EngineStatistics
ToWorker = Setup | Follow | Count | Answer | Finish


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """Says that a version is in force; the models ``missing`` could not be opened and are tried again."""

    version: int
    missing: frozenset[int] = frozenset()


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """Answers ``Count``."""

    counts: Counts


class Ask(msgspec.Struct, frozen=True):
    """Base of the questions; the answer has the same number."""

    number: int


class AskRefresh(Ask, frozen=True, tag="ask refresh"):
    """Asks to reread the list of models, which another server that shares the repository may have changed."""


class AskTotals(Ask, frozen=True, tag="ask totals"):
    """Asks for the counts of all processes."""


class AskStatistics(Ask, frozen=True, tag="ask statistics"):
    """Asks for the engine's statistics."""


class Suspect(msgspec.Struct, frozen=True, tag="suspect"):
    """Says that a batch found the engine away or a model missing, so that the registry compares them now."""


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """Says that a signal asked the worker to end; it waits for ``Finish``."""


FromWorker = Applied | Counted | AskRefresh | AskTotals | AskStatistics | Suspect | Leaving

Received = TypeVar("Received")


class Channel(Generic[Received]):
    """Sends and receives whole messages over one end of a pair of connected sockets.

    Args:
        kind: Type of what is received, a union of tagged structs.
        reader: From ``asyncio``.
        writer: From ``asyncio``.
    """

    def __init__(self, kind: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._decoder: msgspec.msgpack.Decoder[Received] = msgspec.msgpack.Decoder(kind, dec_hook=_from_plain)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_to_plain)
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, kind: Any, end: socket.socket) -> Channel[Received]:
        """Make a channel of a connected stream socket and own the socket."""
        return cls(kind, *await asyncio.open_unix_connection(sock=end))

    def send(self, message: ToWorker | FromWorker) -> None:
        """Send a message, unless the other side is gone; it is buffered until that side reads it."""
        if not self._writer.is_closing():
            data = self._encoder.encode(message)
            self._writer.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)

    async def receive(self) -> Received | None:
        """Wait for the next message; None when the other side is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "little")
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


def _to_plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError  # as msgspec wants it for an unknown type


def _from_plain(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError  # as msgspec wants it for an unknown type
