"""Rounds the padded length of a batch up to one of a small set of lengths."""

from __future__ import annotations

_STEPS_A_DOUBLING_BITS = 4


def few_length(length: int, most: int) -> int:
    """Return the smallest length of the set that is at least ``length``.

    Triton merges only batches of equal length, which batches of several front ends seldom have. The set has every
    length up to 32 tokens and then sixteen evenly spaced lengths per doubling: 96 lengths up to 512. Padding adds less
    than a sixteenth.

    Args:
        length: Tokens of the longest item, at least 1.
        most: Longest sequence of the model; the result is not larger.
    """
    step = 1 << max(0, (length - 1).bit_length() - 1 - _STEPS_A_DOUBLING_BITS)
    return max(length, min(most, -(-length // step) * step))
