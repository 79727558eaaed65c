"""One API key as the keys file describes it."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.vocabulary import Scope

_DATE_LENGTH = len("2027-01-31")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
"""Names of keys, which stand in logs and metrics."""

Limit = Annotated[int, Meta(ge=1, le=10**12)]


class KeyEntry(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """A key of the file.

    Attributes:
        name: Name in logs and metrics.
        sha256: Digest of the key in hexadecimal digits. A plain hash is enough for a random key of 128 bits or more.
        scopes: Scopes that the key grants.
        models: Names of the models that it may use, or patterns of names as in a shell; None for all.
        requests_per_minute: Limit of requests; None for none.
        tokens_per_minute: Limit of tokens; None for none.
        expires: Last day of its validity in UTC (``2027-01-31``), or the time at which it ends, with its zone
            (``2027-01-31T12:00:00Z``); None for never.
        created: Day on which it was made.
    """

    name: Annotated[str, Meta(pattern=NAME_PATTERN)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    models: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)] | None = None
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    expires: str | None = None
    created: str | None = None

    def __post_init__(self) -> None:
        if self.models is not None and "metrics" in self.scopes:
            raise ValueError("a key for some models cannot have the scope 'metrics', which shows all models")
        if self.expires is not None:
            expiry_of(self.expires)

    @property
    def expires_at(self) -> float | None:
        """Time from which the key is no longer valid, in seconds since 1970; None for never."""
        return None if self.expires is None else expiry_of(self.expires)


def digest_of(key: bytes) -> bytes:
    """Return the digest by which a key is known."""
    return hashlib.sha256(key).digest()


def expiry_of(text: str) -> float:
    """Return the end of a day in UTC, or a time with its zone, in seconds since 1970.

    Raises:
        ValueError: The text is neither.
    """
    try:
        if len(text) == _DATE_LENGTH:
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return (day + timedelta(days=1)).timestamp()
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"expires is {text[:40]!r}; write a day as 2027-01-31, or a time as 2027-01-31T12:00:00Z")
    return time.timestamp()
