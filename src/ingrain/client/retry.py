"""Decide which failures are tried again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

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
# Trying again would do the same for half an hour more, needs somebody to look after the server's machine, or is what
# the server has done already (a hub that cannot be reached).
_HOPELESS = (ExportTimeoutError, ExportUnavailableError, MachineError, SourceUnavailableError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which failures are tried again, and when.

    Tried again are lost connections and the statuses 429, 502, 503 and 504. The pause doubles from try to try and is
    cut by chance to between half and all of it, so that many clients do not come back at once; the answer's
    ``Retry-After`` comes on top.

    Attributes:
        most: Tries after the first; 0 for none.
        first_pause_s: Before the second try.
        longest_pause_s: What pauses grow to, ``Retry-After`` apart.
        within_s: No try is begun later than this after the first failure of a request.
        unknown_server_most: Tries after the first while nothing has answered at the address yet: it may be wrong.
    """

    most: int = 30
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0
    within_s: float = 120.0
    unknown_server_most: int = 3


class Retries:
    """The failures of one request."""

    def __init__(self, policy: RetryPolicy, *, repeatable: bool) -> None:
        self._policy = policy
        self._repeatable = repeatable
        self._failures = 0
        self._anothers = 0
        self._give_up_at = 0.0

    def pause_after(self, failure: Failure, *, has_answered: bool) -> float:
        """Return the seconds to wait before the next try.

        Args:
            failure: What went wrong.
            has_answered: True where the server has answered anything before.

        Raises:
            IngrainError: The failure's error, where it is not tried again.
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
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - it spreads clients, and guards nothing
        if error.retry_after_s is not None:
            pause += error.retry_after_s
        if now + pause > self._give_up_at:
            raise error
        return pause

    def _may_help(self, failure: Failure) -> bool:
        error = failure.error
        if failure.was_anothers:
            self._anothers += 1
            return self._repeatable and self._anothers == 1  # the second came over a connection of its own
        if isinstance(error, ServerUnreachableError):
            if isinstance(error, AnswerTimeoutError) and self._failures > 1:
                return False  # it has been waited for twice, each time as long as the caller wanted to wait
            return self._repeatable or not failure.was_sent
        return error.status in _STATUSES and not isinstance(error, _HOPELESS)
