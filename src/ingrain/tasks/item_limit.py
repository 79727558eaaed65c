"""The limit on the number of items in a request."""

from __future__ import annotations

from ingrain.errors import TooLargeError


def check_count(count: int, max_items: int, param: str, what: str) -> None:
    """Refuse too many items.

    Args:
        count: Number of items in the request.
        max_items: Maximum number of items.
        param: Name of the request field.
        what: Plural noun for the items.
    """
    if count > max_items:
        raise TooLargeError(
            f"The request has {count} {what}; the limit is {max_items} (INGRAIN_MAX_ITEMS).",
            param=param,
            facts={"limit": max_items},
        )
