"""Estimates how long batches take in the engine, and when the engine needs the next one; callers pass the time."""

from __future__ import annotations

from collections.abc import Hashable

_REMEMBERED = 0.95
_LEAST_SPREAD = 0.02
_LEAD_SHARE = 0.4
_LEAD_S = 0.003
_FIRST_GUESS_TOKENS_PER_S = 5_000.0
_FIRST_GUESS_WEIGHT_S = 0.01
# Full batches after which the pace is used. The first ones also bring weights into memory and are soon forgotten.
_ENOUGH_BATCHES = 2
_REMEMBERED_AT_FIRST, _REMEMBERED_MORE = 0.5, 0.05
# Longest time that counts for one batch: so many times the expected one, and some seconds. A batch that an engine held
# up for half a minute says nothing about the next one; an engine that has become slower is known in few batches.
_MOST_GROWTH = 8
_MOST_LONGER_S = 0.25
_MOST_AT_FIRST_S = 2.0


class BatchTimes:
    """Estimates the time of a batch as a constant plus a time per token (least squares, recent batches weigh most).

    If all batches have about the same size, the two cannot be separated, and the constant is taken as 0.
    """

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Record how long a batch took."""
        seconds = _plausible(seconds, self.seconds(tokens))
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


def _plausible(seconds: float, expected_s: float) -> float:
    """Return the time of a batch, cut to what may come from the batch itself; ``expected_s`` is 0 if not known."""
    return min(seconds, _MOST_GROWTH * expected_s + _MOST_LONGER_S if expected_s else _MOST_AT_FIRST_S)


class EnginePace:
    """Estimates the throughput of a busy engine, and the time from sending a batch to its rows."""

    def __init__(self) -> None:
        self._tokens = _FIRST_GUESS_TOKENS_PER_S * _FIRST_GUESS_WEIGHT_S
        self._seconds = _FIRST_GUESS_WEIGHT_S
        self._busy_since = 0.0
        self._away_s: float | None = None
        self._away_deviation_s = 0.0
        self._batches = 0
        self._full: dict[Hashable, tuple[float, int]] = {}

    def expect(self, tokens: int, now: float) -> float:
        """Return the seconds until a request behind so many tokens is answered; see ``token_s``."""
        return tokens * self.token_s(now) + self.away_s

    def token_s(self, now: float) -> float:
        """Return the seconds by which each token in the queue delays those behind it.

        Before enough full batches have come back, these are the fewest seconds that the first ones allow, which are
        still in the engine; 0 if there are none.
        """
        if self._batches >= _ENOUGH_BATCHES:
            return self._seconds / self._tokens
        if not self._full:
            return 0.0
        elapsed_s = now - min(sent_at for sent_at, _ in self._full.values())
        return elapsed_s / sum(tokens for _, tokens in self._full.values())

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second while the engine is busy with full batches."""
        return self._tokens / self._seconds

    @property
    def away_s(self) -> float:
        """Seconds after which nearly every batch has come back; 0 before the first batch."""
        return (self._away_s or 0.0) + 2 * self._away_deviation_s

    def begin(self, now: float) -> None:
        """Record that an idle engine got a batch."""
        self._busy_since = now

    def send_full(self, batch: Hashable, tokens: int, now: float) -> None:
        """Record that a full batch was sent."""
        self._full[batch] = now, tokens

    def take_back(self, batch: Hashable) -> None:
        """Record that a batch is no longer in the engine."""
        self._full.pop(batch, None)

    def fail(self, now: float) -> None:
        """Record that a batch has failed; the time until then is not counted."""
        self._busy_since = now

    def end(self, tokens: int, sent_at: float, now: float, *, is_full: bool = True) -> None:
        """Record that a batch has come back.

        Args:
            tokens: Tokens of the batch, without padding.
            sent_at: When it was sent.
            now: Monotonic seconds.
            is_full: Whether more items waited than the batch could take. Only such batches tell the throughput of a
                long queue; smaller ones take longer by the token.
        """
        if is_full:
            remembered = min(_REMEMBERED, _REMEMBERED_AT_FIRST + _REMEMBERED_MORE * self._batches)
            seconds = _plausible(now - self._busy_since, tokens / self.tokens_per_s if self._batches else 0.0)
            self._batches += 1
            self._tokens = remembered * self._tokens + tokens
            self._seconds = remembered * self._seconds + seconds
        self._busy_since = now
        away_s = _plausible(now - sent_at, self._away_s or 0.0)
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
        self._failed: set[Hashable] = set()

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

    def fail(self, batch: Hashable) -> None:
        """Record that a batch of the engine has failed, so that its time is not learned."""
        self._failed.add(batch)

    def end(self, batch: Hashable, now: float) -> None:
        """Record that a batch has come back."""
        has_failed = batch in self._failed
        self._failed.discard(batch)
        began = self._running.pop(batch, None)
        if began is None:
            self._waiting.pop(batch, None)
            return
        if not has_failed:
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
