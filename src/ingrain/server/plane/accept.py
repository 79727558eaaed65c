"""Content negotiation by the ``Accept`` header."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Return the offered media type to which the client gives the highest weight.

    Args:
        accept: The ``Accept`` header; an empty header accepts anything.
        offered: Media types in the server's order of preference, which decides between equal weights. The first one is
            the fallback if the client accepts none of them.
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
