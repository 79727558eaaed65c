"""What can go wrong with one answer of the hub of tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection breaks after so many bytes of an answer's body, with a reset where ``reset`` is set."""

    after_bytes: int
    reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """The body comes in small pieces with pauses between them."""

    chunk_bytes: int
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The answer is an error."""

    code: int
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The body stops after so many bytes, and the connection stays open."""

    after_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRange:
    """The whole file comes although a part of it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Garble:
    """One byte of the body is wrong."""


Fault = Cut | Drip | Status | Silence | IgnoreRange | Garble
