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
        graphs: Names of the graphs for which it may be asked; None: any.
        is_leaving: Whether it is asked only for what no other Triton of the engine has.
    """

    target: str
    backend: Backend = "onnxruntime"
    pid: int | None = None
    graphs: frozenset[str] | None = None
    is_leaving: bool = False


@runtime_checkable
class Shareable(Protocol):
    """An engine on which other processes can run graphs."""

    @property
    def addresses(self) -> tuple[EngineAddress, ...]:
        """Current addresses of the engine's Tritons, none while none is running. A restart may change them."""
