"""Limits the batches of bulk requests, so that small requests do not wait long behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingrain.batching.forecast import EngineForecast
from ingrain.batching.queue import BatchQueue

_SMOOTHING = 0.1
# Batches of bulk requests are limited until this long after the last small request.
_COURTESY_S = 5.0
# A bulk batch that a small request may wait for takes at most this many times the small request's own batch.
_COURTESY_SHARE = 1.5


class Courtesy:
    """Limits batches with items of bulk requests while small requests come too.

    Bulk batches are not sent ahead then. All instances but one may run large bulk batches; the last instance runs only
    bulk batches about as short as those of small requests.

    Args:
        queue: The waiting items.
        forecast: The batches in the engine.
    """

    def __init__(self, queue: BatchQueue[Any], forecast: EngineForecast) -> None:
        self._queue = queue
        self._forecast = forecast
        self._small_came_at = float("-inf")
        self._small_tokens = 0.0

    def small_request_came(self, tokens: int, now: float) -> None:
        """Record the arrival of a small request."""
        self._small_came_at = now
        self._small_tokens += _SMOOTHING * (tokens - self._small_tokens) if self._small_tokens else tokens

    def most_bulk_tokens(self, now: float, running: Mapping[Any, bool]) -> int | None:
        """Return the token limit of a batch with items of bulk requests: 0 for no such batch, None for no limit.

        Args:
            now: Monotonic seconds.
            running: The batches in the engine; True for those with items of bulk requests.
        """
        queue, forecast = self._queue, self._forecast
        if queue.tokens == queue.small_tokens or now > self._small_came_at + _COURTESY_S:
            return None
        times = forecast.times
        most = times.tokens_within(_COURTESY_SHARE * times.seconds(round(self._small_tokens)))
        if most >= queue.limits.max_tokens:
            return None  # as on a GPU: any batch is about as fast as that of a small request
        if len(running) >= forecast.instances and (not queue.small_tokens or any(running.values())):
            return 0
        if not queue.small_tokens and forecast.larger_than(most) < forecast.instances - 1:
            return None
        if forecast.instances == 1:
            most = max(most, queue.next_bulk_tokens())
        return max(1, int(most))
