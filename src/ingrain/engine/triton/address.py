"""The address by which other processes of this server connect to the engine's Triton."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from ingrain.repository.execution_policy import Backend


class EngineAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Address of a running Triton.

    Attributes:
        target: gRPC target.
        backend: Triton backend of the graphs.
        pid: Process id of an embedded tritonserver, to check its stubs; None for a remote server.
    """

    target: str
    backend: Backend = "onnxruntime"
    pid: int | None = None


@runtime_checkable
class Shareable(Protocol):
    """An engine on which other processes can run graphs."""

    @property
    def address(self) -> EngineAddress | None:
        """Current address of the engine, None while it is not running. A restart may change the address."""
