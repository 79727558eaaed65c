"""The named keys of a process: what each one may do, what is left of its limits, and what it has done."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ingrain.errors import ExpiredKeyError, PermissionDeniedError, RateLimitError
from ingrain.server.keys.counts import KeyCounts
from ingrain.server.keys.entry import KeyEntry, digest_of
from ingrain.server.keys.windows import RESET_S, Window, WindowTable
from ingrain.vocabulary import Scope

UNKNOWN_KEY = ""
"""Name under which requests without a valid key are counted."""


_OF_REQUESTS = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
_OF_TOKENS = ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")
_USUAL_RESET = f"{RESET_S}s"


class KnownKey(msgspec.Struct, frozen=True, array_like=True):
    """A key of the file with its number, which is the same in all processes.

    The number belongs to the secret and its limits: a key with another secret or other limits gets a new number, and
    with it new windows.
    """

    entry: KeyEntry
    number: int


class NamedKey:
    """A key of the file.

    Args:
        known: The key.
        group: Number of the group of requests that share cached rows.
        windows: Table with the windows of all keys.
        counts: What the requests of the key's name have done.
        clock: Monotonic seconds, the same in all processes.
    """

    __slots__ = (
        "_allowed",
        "_clock",
        "_expires_at",
        "_requests",
        "_scopes",
        "_tokens",
        "_told",
        "counts",
        "group",
        "known",
        "permitted",
    )

    def __init__(
        self, known: KnownKey, group: int, windows: WindowTable, counts: KeyCounts, clock: Callable[[], float]
    ) -> None:
        entry = known.entry
        self.known = known
        self.group = group
        self.counts = counts
        self.permitted: Any = None  # the services as this key sees them, made when they are first needed
        self._expires_at = entry.expires_at
        self._scopes = entry.scopes
        self._clock = clock
        self._allowed = None if entry.models is None else re.compile("|".join(map(fnmatch.translate, entry.models)))
        self._requests = _window(windows, 2 * known.number, entry.requests_per_minute)
        self._tokens = _window(windows, 2 * known.number + 1, entry.tokens_per_minute)
        told = (_OF_REQUESTS, self._requests), (_OF_TOKENS, self._tokens)
        self._told = [(*names, f"{window.limit}", window) for names, window in told if window is not None]

    @property
    def name(self) -> str:
        """Name in logs and metrics."""
        return self.known.entry.name

    def check(self, scope: Scope | None) -> None:
        """Check that the key is valid and has the scope, if one is needed.

        Raises:
            ExpiredKeyError: It has expired.
            PermissionDeniedError: It lacks the scope.
        """
        if self._expires_at is not None and self.has_expired:
            self.counts.refuse("expired")
            raise ExpiredKeyError(f"The API key has expired: it was valid until {self.known.entry.expires}.")
        if scope is not None and scope not in self._scopes:
            self.counts.refuse("scope")
            raise PermissionDeniedError(f"The API key lacks the scope {scope!r}.")

    @property
    def has_expired(self) -> bool:
        """Whether the key is no longer valid."""
        return self._expires_at is not None and time.time() >= self._expires_at

    def take_request(self) -> None:
        """Count a request.

        Raises:
            RateLimitError: The key has taken as many requests or tokens as it may in a minute.
        """
        requests, tokens, now = self._requests, self._tokens, self._clock()
        if tokens is not None and tokens.left(now) <= 0:
            raise self._limited(tokens, now, "tokens")
        if requests is not None:
            if requests.left(now) < 1:
                raise self._limited(requests, now, "requests")
            requests.take(1)

    def take_tokens(self, tokens: int) -> None:
        """Count the tokens of a request, once they are known."""
        self.counts.tokens += tokens
        if self._tokens is not None:
            self._tokens.take(tokens)

    def allows(self, model: str) -> bool:
        """Return whether the key may use a model."""
        return self._allowed is None or self._allowed.match(model) is not None

    def check_model(self, model: str, told: str | None = None) -> None:
        """Check that the key may use a model.

        Args:
            model: Name of the model.
            told: Name in the error, if the request has another one for the model, such as an alias.

        Raises:
            PermissionDeniedError: It may not.
        """
        if not self.allows(model):
            self.counts.refuse("model")
            name = (told or model)[:200]
            raise PermissionDeniedError(
                f"The API key may not use the model {name!r}.", param="name", facts={"model": name}
            )

    def add_headers(self, headers: dict[str, str]) -> None:
        """Say in a response what is left of the limits, in OpenAI's headers."""
        for limit, remaining, reset, limit_text, window in self._told:
            left = window.latest_left
            headers[limit] = limit_text
            headers[remaining] = f"{int(left)}" if left > 0 else "0"
            headers[reset] = _USUAL_RESET if 0 <= left < window.limit else f"{window.reset_s(left)}s"

    def _limited(self, window: Window, now: float, what: str) -> RateLimitError:
        self.counts.refuse(f"{what}_per_minute")
        return RateLimitError(
            f"The API key's limit of {window.limit} {what} per minute is reached. Try again later.",
            retry_after_s=window.wait_s(now),
            facts={"limit": window.limit},
        )


class NamedKeys:
    """The keys of the file, as this process knows them.

    Attributes:
        by_header: Keys that requests have used, by the ``Authorization`` header: a digest takes longer to compute.

    Args:
        windows: What the keys take, in all processes.
        first_group: Number of the first group of cached rows.
        clock: Monotonic seconds, the same in all processes.
    """

    def __init__(
        self, windows: WindowTable, first_group: int = 1, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.windows = windows
        self.by_header: dict[bytes, NamedKey] = {}
        self._first_group = first_group
        self._clock = clock
        self._by_digest: dict[bytes, NamedKey] = {}
        self._counts: dict[str, KeyCounts] = {UNKNOWN_KEY: KeyCounts()}

    def replace(self, known: Iterable[KnownKey]) -> None:
        """Take over another list of keys; keys that are in both keep their state, and names their counters."""
        before = {key.known: key for key in self._by_digest.values()}
        counts = {UNKNOWN_KEY: self._counts[UNKNOWN_KEY]}
        found = {}
        for one in known:
            entry = one.entry
            counts[entry.name] = self._counts.get(entry.name) or KeyCounts()
            found[bytes.fromhex(entry.sha256)] = before.get(one) or NamedKey(
                one, self._first_group + one.number, self.windows, counts[entry.name], self._clock
            )
        self._by_digest, self._counts, self.by_header = found, counts, {}

    def find(self, key: bytes) -> NamedKey | None:
        """Return a key by its secret.

        It is looked up by its digest: how long that takes tells a caller nothing about the keys that there are.
        """
        return self._by_digest.get(digest_of(key))

    def has(self, key: NamedKey) -> bool:
        """Return whether a key is in the file as it was when it was found, and has not expired."""
        return not key.has_expired and self._by_digest.get(bytes.fromhex(key.known.entry.sha256)) is key

    @property
    def names(self) -> frozenset[str]:
        """Names of all keys, and the one for requests without a valid key."""
        return frozenset(self._counts)

    @property
    def counts(self) -> Mapping[str, KeyCounts]:
        """What has been done in this process, by the names of the keys."""
        return self._counts

    def refuse_unknown(self) -> None:
        """Count a request without a valid key."""
        self._counts[UNKNOWN_KEY].refuse("unknown")


def _window(windows: WindowTable, number: int, limit: int | None) -> Window | None:
    return None if limit is None else windows.window(number, limit)
