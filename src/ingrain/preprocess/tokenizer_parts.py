"""Walks through the description of a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal


def parts_of(part: dict[str, Any] | None, members: Literal["normalizers", "pretokenizers"]) -> Iterator[dict[str, Any]]:
    """Yield the components of a normalizer or pre-tokenizer, in the order in which they are applied.

    Args:
        part: Its description in ``tokenizer.json``; None if the tokenizer has none.
        members: Key of the components of a sequence.
    """
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for member in part[members]:
        yield from parts_of(member, members)
