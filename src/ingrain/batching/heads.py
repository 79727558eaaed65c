"""Lets requests share the batches of a graph with heads, each with the outputs that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, final

from ingrain.batching.batcher import Batcher
from ingrain.batching.queue import BatchLimits
from ingrain.batching.request import Rows, Waiter, submit
from ingrain.preprocess.tokenized import TokenizedText, lengths_of
from ingrain.vocabulary import Role


@final
class Asked(Sequence[TokenizedText]):
    """Texts of a request, with the roles of the outputs that it asks for."""

    __slots__ = ("roles", "texts")

    def __init__(self, texts: Sequence[TokenizedText], roles: tuple[Role, ...]) -> None:
        self.texts = texts
        self.roles = roles

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Any) -> Any:
        return self.texts[index]


def texts_of(payloads: Sequence[TokenizedText]) -> Sequence[TokenizedText]:
    """Return the texts of a request."""
    return payloads.texts if type(payloads) is Asked else payloads


def asked_lengths(payloads: Sequence[TokenizedText]) -> list[int]:
    """Return the number of token ids of each text of a request."""
    return lengths_of(texts_of(payloads))


class HeadsQueue:
    """Asks the queue of a graph for the outputs of some of its roles.

    The rows are those of the role or, of several roles, what ``join_rows`` makes of them in this order.

    Args:
        batcher: The queue; of payloads that are not ``Asked`` it computes the main role.
        roles: Roles of the graph.
    """

    looks_up_first = False

    def __init__(self, batcher: Batcher[Any], roles: tuple[Role, ...]) -> None:
        self.roles = roles
        self.refuse_when_late = batcher.refuse_when_late
        self.statistics = batcher.statistics
        self._batcher = batcher

    @property
    def limits(self) -> BatchLimits:
        """Limits of batch size and padding, as ``Batcher.limits``."""
        return self._batcher.limits

    def fits_one_batch(self, payloads: Sequence[Any]) -> bool:
        """Return whether a request of these texts may be sent as one batch."""
        return self._batcher.fits_one_batch(payloads)

    def put(
        self, payloads: Sequence[Any], waiter: Waiter, *, timeout_s: float, is_let_in: bool = False
    ) -> Callable[[], None]:
        """Compute the rows of one request and pass them to a waiter; as ``Batcher.put``."""
        return self._batcher.put(Asked(payloads, self.roles), waiter, timeout_s=timeout_s, is_let_in=is_let_in)

    async def submit(self, payloads: Sequence[Any], *, timeout_s: float) -> Rows:
        """Compute the rows of one request; as ``Batcher.submit``."""
        return await submit(self, payloads, timeout_s=timeout_s)


class PartedRows:
    """The rows of a batch whose parts have rows of different kinds.

    Args:
        parts: Rows of each part of the batch, in order.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        *starts, self._count = accumulate(map(len, parts), initial=0)
        self._parts = dict(zip(starts, parts, strict=True))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> Rows:
        """Return the rows of a part, from its first row to its last."""
        return self._parts[part.start]
