"""Decides from measurements that scatter which of two ways to execute a graph is faster."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

MARGIN = 1.03
"""What is to be called faster must be so by this factor; less than that is noise on a machine that others use too."""


def ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    """Return how many times as fast one was as the other, by their medians."""
    return median(rates) / median(others)


def is_faster(rates: Sequence[float], others: Sequence[float]) -> bool:
    """Tell whether one was faster by the margin, by the medians."""
    return ratio(rates, others) >= MARGIN


def is_faster_for_certain(rates: Sequence[float], others: Sequence[float]) -> bool:
    """Tell whether one was faster by the margin, and in every single round faster than the other."""
    return is_faster(rates, others) and all(one > other for one, other in zip(rates, others, strict=True))
