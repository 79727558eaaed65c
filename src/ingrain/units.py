"""Reads amounts of memory and durations as people write them: ``6GiB``, ``60%``, ``10m``."""

from __future__ import annotations

import math
import re

_BYTES = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*")

FOR_EVER_S = math.inf
"""The duration that a negative number means."""


def parse_bytes(text: str) -> int | None:
    """Return an amount of memory, such as ``6GiB``, ``500 MB`` or a number of bytes; None if it is none."""
    found = _AMOUNT.fullmatch(text.strip().lower())
    if found is None or found[2] not in _BYTES:
        return None
    count: int = _BYTES[found[2]]
    return round(float(found[1]) * count)


def parse_share(text: str) -> float | None:
    """Return a share such as ``60%`` as a number above 0 and at most 1; None if it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    share = float(found[1]) / 100 if found is not None else 0.0
    return share if 0 < share <= 1 else None


def parse_seconds(given: str | float) -> float | None:
    """Return a duration such as ``10m`` or a number in seconds: infinity for negative ones, None if it is none.

    Args:
        given: As Ollama's clients and Go programs write it, or a number of seconds.
    """
    text = str(given).strip().lower()
    if text.startswith("-"):
        return FOR_EVER_S if parse_seconds(text[1:]) is not None else None
    parts = _DURATION.findall(text)
    if not text or "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", text):
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return seconds if math.isfinite(seconds) else None


def show_bytes(count: int) -> str:
    """Return an amount of memory as text, such as ``254 MiB``."""
    return f"{count / 1024**3:.1f} GiB" if count >= 10 * 1024**3 else f"{count / 1024**2:.0f} MiB"
