"""Decides whether and when a failed request to the hub is sent again."""

from __future__ import annotations

from huggingface_hub.errors import HfHubHTTPError, HTTPError

from ingrain.sources.hub_errors import retry_after_s, why_unreachable

LISTING_RETRIES = 2
DOWNLOAD_RETRIES = 5

# 416 (range not satisfiable) is among them: the caller deletes its partial file before the retry.
_RETRIED_STATUS = {408, 416, 425, 429, 500, 502, 503, 504}
_CONNECTION_RETRIES = 2
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 8.0
_LONGEST_RETRY_AFTER_S = 60.0


def retry_delay_s(error: HTTPError, failures: int, *, max_retries: int) -> float | None:
    """Return the seconds to wait before the next attempt; None if a retry would not help.

    Args:
        error: Error of the last attempt.
        failures: Consecutive failed attempts, this one included.
        max_retries: Retries after which to give up.
    """
    if failures > max_retries:
        return None
    delay_s: float = min(_FIRST_DELAY_S * 2 ** (failures - 1), _LONGEST_DELAY_S)
    if isinstance(error, HfHubHTTPError):
        requested_s = retry_after_s(error) or 0.0
        if error.response.status_code not in _RETRIED_STATUS or requested_s > _LONGEST_RETRY_AFTER_S:
            return None
        return max(delay_s, requested_s)
    # huggingface_hub raises most connection errors only after retries of its own, but a connection reset at once.
    return None if failures > _CONNECTION_RETRIES or why_unreachable(error) else delay_s
