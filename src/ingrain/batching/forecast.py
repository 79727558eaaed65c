"""Estimates how long batches take in the engine, and when the engine needs the next one; callers pass the time."""

from __future__ import annotations

from collections.abc import Hashable

_REMEMBERED = 0.95
_LEAST_SPREAD = 0.02
_LEAD_SHARE = 0.4
_LEAD_S = 0.003
_FIRST_GUESS_TOKENS_PER_S = 5_000.0
_FIRST_GUESS_WEIGHT_S = 0.01
_ENOUGH_BATCHES = 20


class BatchTimes:
    """Estimates the time of a batch as a constant plus a time per token (least squares, recent batches weigh most).

    If all batches have about the same size, the two cannot be separated, and the constant is taken as 0.
    """

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Record how long a batch took."""
        self._weight = _REMEMBERED * self._weight + 1
        self._x = _REMEMBERED * self._x + tokens
        self._y = _REMEMBERED * self._y + seconds
        self._xx = _REMEMBERED * self._xx + tokens * tokens
        self._xy = _REMEMBERED * self._xy + tokens * seconds

    def seconds(self, tokens: int) -> float:
        """Return the expected seconds of a batch of so many tokens; 0 before the first batch."""
        fixed_s, token_s = self._line()
        return fixed_s + token_s * tokens

    def tokens_within(self, seconds: float) -> float:
        """Return the largest number of tokens whose batch takes at most ``seconds``; may be infinite."""
        fixed_s, token_s = self._line()
        return (seconds - fixed_s) / token_s if token_s > 0 else float("inf")

    def _line(self) -> tuple[float, float]:
        if not self._x:
            return 0.0, 0.0
        spread = self._weight * self._xx - self._x * self._x
        if spread > _LEAST_SPREAD * self._x * self._x:
            token_s = max(0.0, (self._weight * self._xy - self._x * self._y) / spread)
            fixed_s = (self._y - token_s * self._x) / self._weight
            if fixed_s >= 0:
                return fixed_s, token_s
        return 0.0, self._y / self._x


class EnginePace:
    """Estimates the throughput of a busy engine, and the time from sending a batch to its rows."""

    def __init__(self) -> None:
        self._tokens = _FIRST_GUESS_TOKENS_PER_S * _FIRST_GUESS_WEIGHT_S
        self._seconds = _FIRST_GUESS_WEIGHT_S
        self._busy_since = 0.0
        self._away_s: float | None = None
        self._away_deviation_s = 0.0
        self._batches = 0

    def expect(self, tokens: int) -> float:
        """Return the seconds until a request behind so many tokens is answered; 0 before enough batches."""
        if self._batches < _ENOUGH_BATCHES:
            return 0.0
        return tokens / self.tokens_per_s + self.away_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second while the engine is busy."""
        return self._tokens / self._seconds

    @property
    def away_s(self) -> float:
        """Seconds after which nearly every batch has come back; 0 before the first batch."""
        return (self._away_s or 0.0) + 2 * self._away_deviation_s

    def begin(self, now: float) -> None:
        """Record that an idle engine got a batch."""
        self._busy_since = now

    def end(self, tokens: int, sent_at: float, now: float) -> None:
        """Record that a batch has come back."""
        self._batches += 1
        self._tokens = _REMEMBERED * self._tokens + tokens
        self._seconds = _REMEMBERED * self._seconds + now - self._busy_since
        self._busy_since = now
        away_s = now - sent_at
        if self._away_s is None:
            self._away_s, self._away_deviation_s = away_s, away_s / 4
        # Like TCP's estimate of its retransmission timeout (RFC 6298).
        self._away_deviation_s += (abs(away_s - self._away_s) - self._away_deviation_s) / 4
        self._away_s += (away_s - self._away_s) / 8


class EngineForecast:
    """Tracks the batches in an engine that runs ``instances`` of them at a time and queues the others.

    Attributes:
        instances: Batches that run at the same time.
        times: Estimate of the time of a batch.
    """

    def __init__(self, instances: int) -> None:
        self.times = BatchTimes()
        self.instances = instances
        self._running: dict[Hashable, tuple[float, int]] = {}
        self._waiting: dict[Hashable, int] = {}

    def resize(self, instances: int) -> None:
        """Set how many batches the engine runs at a time; a change discards the measured times."""
        if instances != self.instances:
            self.instances, self.times = instances, BatchTimes()

    def begin(self, batch: Hashable, tokens: int, now: float) -> None:
        """Record that a batch was sent."""
        if len(self._running) < self.instances:
            self._running[batch] = now, tokens
        else:
            self._waiting[batch] = tokens

    def end(self, batch: Hashable, now: float) -> None:
        """Record that a batch has come back."""
        began = self._running.pop(batch, None)
        if began is None:
            self._waiting.pop(batch, None)
            return
        self.times.learn(began[1], now - began[0])
        if self._waiting:
            following = next(iter(self._waiting))
            self._running[following] = now, self._waiting.pop(following)

    def larger_than(self, tokens: float) -> int:
        """Return how many of the batches in the engine have more tokens than this."""
        return sum(size > tokens for size in (*(one for _, one in self._running.values()), *self._waiting.values()))

    def seconds_to_spare(self, now: float, elsewhere: int = 0) -> float:
        """Return how long the next batch can still collect items; 0 if an instance is free or soon will be.

        Args:
            now: Monotonic seconds.
            elsewhere: Batches of other processes in the engine.
        """
        if not self._running or len(self._running) + elsewhere < self.instances or self._waiting:
            return 0.0
        durations = [(began - now, self.times.seconds(tokens)) for began, tokens in self._running.values()]
        soonest = min(elapsed + duration for elapsed, duration in durations)
        longest = max(duration for _, duration in durations)
        return max(0.0, soonest - _LEAD_S - _LEAD_SHARE * longest)
