"""When the engine will want its next batch: a forecast from how long batches took, no clock of its own."""

from __future__ import annotations

from collections.abc import Hashable

_SMOOTHING = 0.1
_LEAD_SHARE = 0.4
_LEAD_S = 0.003


class EngineForecast:
    """Follows the batches in an engine that runs ``instances`` of them at a time, and others after these, in turn.

    Args:
        instances: Batches that run at the same time.
    """

    def __init__(self, instances: int) -> None:
        self._instances = instances
        self._seconds_per_token = 0.0
        self._running: dict[Hashable, tuple[float, int]] = {}
        self._waiting: dict[Hashable, int] = {}

    def begin(self, batch: Hashable, tokens: int, now: float) -> None:
        """Take note that a batch was sent."""
        if len(self._running) < self._instances:
            self._running[batch] = now, tokens
        else:
            self._waiting[batch] = tokens

    def end(self, batch: Hashable, now: float) -> None:
        """Take note that a batch has come back."""
        began = self._running.pop(batch, None)
        if began is None:
            self._waiting.pop(batch, None)
            return
        seconds_per_token = (now - began[0]) / began[1]
        if self._seconds_per_token:
            self._seconds_per_token += _SMOOTHING * (seconds_per_token - self._seconds_per_token)
        else:
            self._seconds_per_token = seconds_per_token
        if self._waiting:
            following = next(iter(self._waiting))
            self._running[following] = now, self._waiting.pop(following)

    def seconds_to_spare(self, now: float, elsewhere: int = 0) -> float:
        """Return how long the next batch can still gather items, 0 if an instance is free or will soon be.

        Args:
            now: Monotonic seconds.
            elsewhere: Batches of other processes in the engine.
        """
        if not self._running or len(self._running) + elsewhere < self._instances or self._waiting:
            return 0.0
        durations = [(began - now, tokens * self._seconds_per_token) for began, tokens in self._running.values()]
        soonest = min(elapsed + duration for elapsed, duration in durations)
        longest = max(duration for _, duration in durations)
        return max(0.0, soonest - _LEAD_S - _LEAD_SHARE * longest)
