"""Receives an error of a request to the hub, and hands on after how long to ask again, if at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from huggingface_hub.errors import HfHubHTTPError, HTTPError

from ingrain.sources.hub_errors import retry_after_s

_PASSING_STATUS = {408, 416, 425, 429, 500, 502, 503, 504}
_TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for the hub.

    Attributes:
        connect_s: For a connection.
        silence_s: Between two reads that bring bytes.
        retries: How often to ask again without a single new byte in between.
        first_delay_s: Before the first retry; each further one waits twice as long.
        longest_delay_s: Where the doubling stops.
        longest_retry_after_s: Longest wait that the hub may ask for; more is an error at once.
    """

    connect_s: float = 10.0
    silence_s: float = 30.0
    retries: int = 5
    first_delay_s: float = 0.5
    longest_delay_s: float = 8.0
    longest_retry_after_s: float = 60.0

    def timeouts(self) -> tuple[float, float, float, float]:
        """Return the timeouts for connecting, reading, writing and for a free connection, in seconds."""
        return (self.connect_s, self.silence_s, self.silence_s, self.connect_s)


class Retries:
    """Counts failures in a row."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0

    def start_over(self) -> None:
        """Count from zero again: something arrived."""
        self._failures = 0

    def wait_or_raise(self, error: Exception, *, on_wait: Callable[[], None] | None = None) -> None:
        """Sleep before the next try, or raise the error again where another try would not help.

        Args:
            error: What the last try ended with.
            on_wait: Called about once a second meanwhile.
        """
        delay_s = self._delay_s(error)
        if delay_s is None or self._failures >= self._patience.retries:
            raise error
        self._failures += 1
        end = time.monotonic() + delay_s
        while (left_s := end - time.monotonic()) > 0:
            if on_wait is not None:
                on_wait()
            time.sleep(min(left_s, _TICK_S))

    def _delay_s(self, error: Exception) -> float | None:
        own: float = min(self._patience.first_delay_s * 2**self._failures, self._patience.longest_delay_s)
        if isinstance(error, HfHubHTTPError):
            if error.response.status_code not in _PASSING_STATUS:
                return None
            asked = retry_after_s(error)
            if asked is not None and asked > self._patience.longest_retry_after_s:
                return None
            return max(own, asked or 0.0)
        # The HTTP client's own errors: no connection, silence, a connection that broke.
        return own if isinstance(error, HTTPError) else None
