"""The limit on the number of items in a request."""

from __future__ import annotations

from ingrain.errors import TooLargeError
from ingrain.pipeline.task import RequestLimits


def check_count(limits: RequestLimits, count: int, param: str, what: str) -> None:
    """Refuse too many items.

    Args:
        limits: Of one request.
        count: How many items the request has.
        param: The caller's name of the field.
        what: What the items are, in the plural.
    """
    if count > limits.max_items:
        raise TooLargeError(
            f"The request has {count} {what}; the limit is {limits.max_items} (INGRAIN_MAX_ITEMS).",
            param=param,
            facts={"limit": limits.max_items},
        )
