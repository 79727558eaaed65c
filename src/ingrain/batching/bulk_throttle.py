"""Keeps batches of bulk requests so short that small requests do not wait long behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingrain.batching.forecast import EngineForecast
from ingrain.batching.queue import BatchQueue

_SMOOTHING = 0.1
# While small requests come, and this long after the last one, batches of bulk requests make room for them ...
_COURTESY_S = 5.0
# ... and those that a small request may have to wait for take no longer than this many times its own.
_COURTESY_SHARE = 1.5


class Courtesy:
    """Limits batches with items of bulk requests while small requests come too.

    Such batches are not sent ahead, and only all instances but one run large ones of them; on the last one they are as
    short as a small request's own.

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
        """Record that a small request came."""
        self._small_came_at = now
        self._small_tokens += _SMOOTHING * (tokens - self._small_tokens) if self._small_tokens else tokens

    def most_bulk_tokens(self, now: float, running: Mapping[Any, bool]) -> int | None:
        """Return how large a batch with items of bulk requests may be now: 0 for none at all, None for no limit.

        Args:
            now: Monotonic seconds.
            running: The batches in the engine, and whether there are items of bulk requests in them.
        """
        queue, forecast = self._queue, self._forecast
        if queue.tokens == queue.small_tokens or now > self._small_came_at + _COURTESY_S:
            return None
        times = forecast.times
        most = times.tokens_within(_COURTESY_SHARE * times.seconds(round(self._small_tokens)))
        if most >= queue.limits.max_tokens:
            return None  # as on a GPU: any batch is as quick as a small request's own
        if len(running) >= forecast.instances and (not queue.small_tokens or any(running.values())):
            return 0
        if not queue.small_tokens and forecast.larger_than(most) < forecast.instances - 1:
            return None
        if forecast.instances == 1:
            most = max(most, queue.next_bulk_tokens())
        return max(1, int(most))
