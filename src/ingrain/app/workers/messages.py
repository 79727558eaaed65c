"""Messages between the main process and a worker, and the channel that carries them."""

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
from ingrain.server.keys.named import KnownKey
from ingrain.server.plane.counts import Counts
from ingrain.settings import Settings
from ingrain.vocabulary import Library

_LENGTH_BYTES = 4


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """First message to a worker: settings with API keys, placement, and how many batches of a graph run at once."""

    settings: Settings
    placement: Placement
    instances: int


class Follow(msgspec.Struct, frozen=True, kw_only=True, tag="follow"):
    """The complete state of the server, sent after each change; it replaces the previous state.

    Attributes:
        version: Version of the state, incremented with each change.
        view: State of the models.
        everywhere: Numbers of the models that all workers have open.
        engine: Addresses of the engine; none while it is not running.
        starting: Why the server is not ready yet, None if it is.
    """

    version: int
    view: RegistryView
    everywhere: frozenset[int] = frozenset()
    engine: tuple[EngineAddress, ...] = ()
    starting: str | None = None


class Keys(msgspec.Struct, frozen=True, tag="keys"):
    """The named keys, sent at the start and after each change of their file; they replace the previous ones."""

    known: tuple[KnownKey, ...]


class Count(msgspec.Struct, frozen=True, tag="count"):
    """Requests ``Counted``. It is sent every second as a heartbeat; a worker that stops answering is killed."""


class Refreshed(msgspec.Struct, frozen=True, tag="refreshed"):
    """Answers ``AskRefresh``; a ``Follow`` with the changes precedes it."""

    number: int
    changed: bool


class Totals(msgspec.Struct, frozen=True, tag="totals"):
    """Answers ``AskTotals`` with the counts of all processes."""

    number: int
    counts: Counts


class Demanded(msgspec.Struct, frozen=True, tag="demanded"):
    """Answers ``AskDemand``; a ``Follow`` with the model precedes it. Otherwise it has the error.

    Attributes:
        number: Number of the question.
        error: The error's message; None if the model is loaded.
        code: The error's code.
        retry_after_s: When the request may be tried again.
    """

    number: int
    error: str | None = None
    code: str = ""
    retry_after_s: float | None = None


class EngineStatistics(msgspec.Struct, frozen=True, tag="statistics"):
    """Answers ``AskStatistics`` with the engine's statistics, or with its error."""

    number: int
    graphs: list[GraphStatistics] = []
    error: str | None = None


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """Tells the worker to take no more connections, finish its requests within ``grace_s`` seconds, and exit.

    A second one with no seconds tells it to wait no longer for requests in progress.
    """

    grace_s: float


Answer = Refreshed | Totals | EngineStatistics | Demanded
ToWorker = Setup | Follow | Keys | Count | Answer | Finish


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """Reports that a version of the state is applied.

    The worker retries the models in ``missing``, which are not open yet, and answers the last requests of those in
    ``leaving``.
    """

    version: int
    missing: frozenset[int] = frozenset()
    leaving: frozenset[int] = frozenset()


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """Answers ``Count``, and tells when each model was used last and what requests said about its time in memory."""

    counts: Counts
    uses: dict[int, tuple[float, float | None]] = {}


class Ask(msgspec.Struct, frozen=True):
    """Base class of questions; the answer has the question's number."""

    number: int


class AskRefresh(Ask, frozen=True, tag="ask refresh"):
    """Requests a reread of the list of models, which another server with the same repository may have changed."""


class AskTotals(Ask, frozen=True, tag="ask totals"):
    """Requests the counts of all processes."""


class AskStatistics(Ask, frozen=True, tag="ask statistics"):
    """Requests the engine's statistics."""


class AskDemand(Ask, frozen=True, tag="ask demand"):
    """Requests to load a model of the repository, which a request names."""

    name: str
    library: Library | None
    pretrained: str | None


class Withdraw(Ask, frozen=True, tag="withdraw"):
    """Reports that nobody waits any more for the answer to the question with this number."""


class Suspect(msgspec.Struct, frozen=True, tag="suspect"):
    """Reports a batch that failed because the engine or a graph was gone, so that the registry checks the engine."""


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """Reports that the worker got a signal to end; it waits for ``Finish``."""


FromWorker = Applied | Counted | AskDemand | AskRefresh | AskTotals | AskStatistics | Withdraw | Suspect | Leaving

Received = TypeVar("Received")


class Channel(Generic[Received]):
    """Sends and receives whole messages over one end of a pair of connected sockets.

    Args:
        kind: Type of received messages, a union of tagged structs.
        reader: Stream to read from.
        writer: Stream to write to.
    """

    def __init__(self, kind: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._decoder: msgspec.msgpack.Decoder[Received] = msgspec.msgpack.Decoder(kind, dec_hook=_from_plain)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_to_plain)
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, kind: Any, end: socket.socket) -> Channel[Received]:
        """Create a channel on a connected stream socket, and take ownership of the socket."""
        return cls(kind, *await asyncio.open_unix_connection(sock=end))

    def send(self, message: ToWorker | FromWorker) -> None:
        """Send a message without waiting; drop it if the other side is gone."""
        if not self._writer.is_closing():
            data = self._encoder.encode(message)
            self._writer.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)

    async def receive(self) -> Received | None:
        """Wait for the next message; return None when the other side is gone."""
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
    raise NotImplementedError  # tells msgspec that the type is not supported


def _from_plain(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError  # tells msgspec that the type is not supported
