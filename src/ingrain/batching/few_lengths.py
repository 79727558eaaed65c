"""Rounds the length that a batch is padded to up to one of few lengths."""

from __future__ import annotations

_STEPS_A_DOUBLING_BITS = 4


def few_length(length: int, most: int) -> int:
    """Return the least of the few lengths that holds an item.

    Triton merges only batches of equal length, and those of several front ends seldom have one by themselves. Up to 32
    tokens every length is one of the few, and from any on sixteen are, evenly spaced, to twice as many tokens: 96 up to
    512. Padding adds less than a sixteenth.

    Args:
        length: Tokens of the longest item, at least 1.
        most: What an item may have; nothing is padded to more.
    """
    step = 1 << max(0, (length - 1).bit_length() - 1 - _STEPS_A_DOUBLING_BITS)
    return max(length, min(most, -(-length // step) * step))
