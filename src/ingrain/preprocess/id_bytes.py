"""Packs token ids into the engine's input format: consecutive ``int64`` in this machine's byte order."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

ID_BYTES = 8


def pack_ids(ids: Iterable[int]) -> bytes:
    """Return token ids as bytes, ``ID_BYTES`` each."""
    return array("q", ids).tobytes()
