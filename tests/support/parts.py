"""The payloads of a batch, as a batcher hands them to the engine."""

from collections.abc import Iterable, Sequence
from typing import Any


def payloads_of(parts: Iterable[tuple[Sequence[Any], Sequence[int]]]) -> list[Any]:
    """Return the payloads at the places of each part, in order."""
    return [payloads[place] for payloads, places in parts for place in places]
