"""Token ids as bytes: ``int64`` in the byte order of this machine, one behind the other."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

ID_BYTES = 8


def pack_ids(ids: Iterable[int]) -> bytes:
    """Return ids as bytes."""
    return array("q", ids).tobytes()
