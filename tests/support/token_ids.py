"""Token ids as numbers, of the bytes that go to the engine."""

from array import array


def unpacked(ids: bytes) -> list[int]:
    return array("q", ids).tolist()


def ids_of(item) -> list[int]:
    """Return the token ids of a tokenized text."""
    return unpacked(item.packed_ids)
