"""The limit on the number of items in a request."""

from __future__ import annotations

from ingrain.errors import TooLargeError
from ingrain.pipeline.task import RequestLimits


def check_count(limits: RequestLimits, count: int, param: str, what: str) -> None:
    """Refuse too many items.

    Args:
        limits: Limits of a request.
        count: Number of items in the request.
        param: Name of the request field.
        what: Plural noun for the items.
    """
    if count > limits.max_items:
        raise TooLargeError(
            f"The request has {count} {what}; the limit is {limits.max_items} (INGRAIN_MAX_ITEMS).",
            param=param,
            facts={"limit": limits.max_items},
        )
