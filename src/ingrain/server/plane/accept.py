"""What a caller would rather have, by its ``Accept`` header."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Return the media type that a caller ranks highest.

    Args:
        accept: The header; empty accepts anything.
        offered: Media types in our own order of preference, which decides between equals; the first is also what is
            given to a caller who accepts none of them.
    """
    weights = dict(_weights(accept))
    best, best_weight = offered[0], 0.0
    for media in offered:
        weight = weights.get(media, weights.get(f"{media.partition('/')[0]}/*", weights.get("*/*", 0.0)))
        if weight > best_weight:
            best, best_weight = media, weight
    return best


def _weights(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            weight = float(quality)
        except ValueError:
            weight = 0.0
        if media:
            found.append((media, weight))
    return found
