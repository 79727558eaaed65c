"""Decide which failures are retried, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace

from ingrain.client.failures import Failure
from ingrain.errors import (
    AnswerTimeoutError,
    ExportTimeoutError,
    ExportUnavailableError,
    MachineError,
    ServerUnreachableError,
    SourceUnavailableError,
)

_STATUSES = frozenset({429, 502, 503, 504})
# The statuses of a request that had no effect.
_NOTHING_DONE = frozenset({429, 503})
# The statuses that a call's own `retries` were for in the first generation of clients.
_STATUSES_ASKED_FOR = _STATUSES | {500}
# Not retried: a retry would export for another half hour, needs an operator first, or was done by the server already
# (a hub that cannot be reached).
_HOPELESS = (ExportTimeoutError, ExportUnavailableError, MachineError, SourceUnavailableError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are retried, and when.

    Lost connections and the statuses 429, 502, 503 and 504 are retried. The pause doubles with each retry and is
    multiplied by a random factor between 0.5 and 1, so that many clients do not retry at the same time. The response's
    ``Retry-After`` is added.

    Attributes:
        most: Largest number of retries; 0 for none.
        first_pause_s: Pause before the first retry.
        longest_pause_s: Longest pause, without ``Retry-After``.
        within_s: Seconds after a request's first failure in which retries may start.
        unknown_server_most: Largest number of retries while no server has answered at the address, which may be wrong.
    """

    most: int = 30
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0
    within_s: float = 120.0
    unknown_server_most: int = 3


class Retries:
    """The failures of one request.

    Args:
        policy: The client's policy.
        repeatable: True if the request is idempotent.
        most: The call's own number of retries; None for that of the policy.
    """

    def __init__(self, policy: RetryPolicy, *, repeatable: bool, most: int | None = None) -> None:
        self._policy = policy if most is None else replace(policy, most=most)
        self._statuses = _STATUSES if most is None else _STATUSES_ASKED_FOR
        if not repeatable:
            self._statuses &= _NOTHING_DONE
        self._repeatable = repeatable
        self._failures = 0
        self._anothers = 0
        self._give_up_at = 0.0

    def pause_after(self, failure: Failure, *, has_answered: bool) -> float:
        """Return the seconds to wait before the next retry.

        Args:
            failure: The failure.
            has_answered: True if the server has answered any request before.

        Raises:
            IngrainError: The failure's error, if it is not retried.
        """
        policy, now = self._policy, time.monotonic()
        if not self._failures:
            self._give_up_at = now + policy.within_s
        self._failures += 1
        error = failure.error
        unreachable = isinstance(error, ServerUnreachableError)
        most = policy.most if has_answered or not unreachable else min(policy.most, policy.unknown_server_most)
        if self._failures > most or not self._may_help(failure):
            raise error
        if failure.was_anothers:
            return 0.0
        pause: float = min(policy.longest_pause_s, policy.first_pause_s * 2 ** (self._failures - 1))
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        if error.retry_after_s is not None:
            pause += error.retry_after_s
        if now + pause > self._give_up_at:
            raise error
        return pause

    def _may_help(self, failure: Failure) -> bool:
        error = failure.error
        if failure.was_anothers:
            self._anothers += 1
            return (
                self._repeatable and self._anothers == 1
            )  # the retry used a new connection, so another would not help
        if isinstance(error, ServerUnreachableError):
            if isinstance(error, AnswerTimeoutError) and self._failures > 1:
                return False  # the caller's full timeout has passed twice
            return self._repeatable or not failure.was_sent
        return error.status in self._statuses and not isinstance(error, _HOPELESS)
