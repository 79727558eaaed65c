"""Decides from noisy measurements which of two executions of a graph is faster."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

MARGIN = 1.03
"""Minimum speed-up that counts as faster; smaller differences are noise on a machine with other load."""


def ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    """Return the ratio of the median rates."""
    return median(rates) / median(others)


def is_faster(rates: Sequence[float], others: Sequence[float]) -> bool:
    """Return whether the median rate is higher by the margin."""
    return ratio(rates, others) >= MARGIN


def is_faster_for_certain(rates: Sequence[float], others: Sequence[float]) -> bool:
    """Return whether the median rate is higher by the margin and every round was faster."""
    return is_faster(rates, others) and all(one > other for one, other in zip(rates, others, strict=True))
