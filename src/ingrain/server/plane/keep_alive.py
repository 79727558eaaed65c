"""Reads how long a request wants its model to stay loaded."""

from __future__ import annotations

import math

from ingrain.errors import InvalidRequestError
from ingrain.units import parse_seconds

FOR_EVER_S = -1.0
"""The number of seconds for a model that is never unloaded for being idle."""


def seconds_of(given: float | str, param: str) -> float:
    """Return a duration in seconds, or ``FOR_EVER_S``.

    Args:
        given: A number of seconds, or text such as ``10m``; negative for ever.
        param: The field, for the error.

    Raises:
        InvalidRequestError: It is no duration.
    """
    seconds = parse_seconds(given)
    if seconds is None:
        raise InvalidRequestError(
            f"{param} is {str(given)[:50]!r}; it must be seconds, or a duration such as '10m' or '1h30m'.", param=param
        )
    return seconds if seconds < math.inf else FOR_EVER_S
