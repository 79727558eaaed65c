"""One of several Tritons, as the choice among them sees it."""

from __future__ import annotations

import asyncio

from ingrain.engine.triton.engine import TritonEngine

_REST_S = 1.0
# A Triton that answers everything but a batch may hang in it; the caller gives such a batch up after a long time.
_LONG_REST_S = 30.0


class Server:
    """A Triton, the graphs that it has, and the batches that this process has sent to it.

    Args:
        address: Its gRPC target, which names it in logs and metrics.
        engine: Runs batches on it.
        graphs: Names of the graphs that it may be asked for; None for any.
        is_watched: Whether this process finds out if the Triton responds and has its graphs; False: another one does.

    Attributes:
        is_leaving: Whether it gets batches only while no other Triton can run them.
        tokens: Elements of the first input of all batches in it: tokens with padding, or values of pixels.
        batches: Batches in it.
        idle: Set while no batches are in it.
        sent: Batches that were sent to it.
        failed: Of those, the ones that it lost and another Triton had to run.
    """

    def __init__(
        self, address: str, engine: TritonEngine, graphs: set[str] | None = None, *, is_watched: bool = False
    ) -> None:
        self.address = address
        self.engine = engine
        self.graphs = graphs
        self.is_leaving = False
        self.tokens = 0
        self.batches = 0
        self.sent = 0
        self.failed = 0
        self.is_watched = is_watched
        self.idle = asyncio.Event()
        self.idle.set()
        self._rests_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the Triton is believed to respond."""
        return self.engine.responds or not self.is_watched

    def takes(self, name: str) -> bool:
        """Return whether the Triton may be asked for a graph."""
        return self.is_open and self.has(name)

    def has(self, name: str) -> bool:
        """Return whether the Triton had a graph when it last responded."""
        return self.graphs is None or name in self.graphs

    def rests(self, now: float) -> bool:
        """Return whether the Triton has just lost a batch, so that the others come first."""
        return now < self._rests_until

    def begin(self, tokens: int) -> None:
        """Count a batch that is sent."""
        self.tokens += tokens
        self.batches += 1
        self.idle.clear()
        self.sent += 1

    def end(self, tokens: int) -> None:
        """Count a batch that has come back or failed."""
        self.tokens -= tokens
        self.batches -= 1
        if not self.batches:
            self.idle.set()

    def give_up(self, now: float) -> None:
        """Let the Triton rest for long, because the caller waits no longer for a batch."""
        self._rests_until = now + _LONG_REST_S

    def lose(self, name: str, *, had_graph: bool, now: float) -> None:
        """Count a batch that the Triton has lost, and let it rest; one without the graph gets it again first."""
        self.failed += 1
        self._rests_until = now + _REST_S
        if not had_graph and self.is_watched and self.graphs is not None:
            self.graphs.discard(name)
