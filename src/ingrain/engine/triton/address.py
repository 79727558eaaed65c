"""The address of an engine, for other processes of this server that run graphs on it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec


class EngineAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Triton is reached now.

    Attributes:
        target: What gRPC connects to.
        pid: Process id of an embedded tritonserver, whose stubs can be looked after; None for a server elsewhere.
    """

    target: str
    pid: int | None = None


@runtime_checkable
class Shareable(Protocol):
    """An engine that other processes can run graphs on."""

    @property
    def address(self) -> EngineAddress | None:
        """Where it is reached now, None while it is away. A restart may change it."""
