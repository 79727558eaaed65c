"""Builds the server of the gRPC port, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingrain.app.limits import http_limits
from ingrain.server.dialects.kserve.dialect import KSERVE
from ingrain.server.http.tls import TlsCertificate
from ingrain.server.plane.route import Dialect
from ingrain.server.plane.services import Services
from ingrain.settings import Settings

if TYPE_CHECKING:
    from ingrain.server.grpc.server import GrpcServer


def has_grpc(settings: Settings, dialects: Sequence[Dialect]) -> bool:
    """Return whether the server has a gRPC port."""
    return bool(settings.grpc_port) and KSERVE in dialects


def grpc_server(
    settings: Settings, dialects: Sequence[Dialect], services: Services, tls: TlsCertificate | None
) -> GrpcServer | None:
    """Return the gRPC server of a process that serves the inference plane; None if there is no gRPC port."""
    if not has_grpc(settings, dialects):
        return None
    # Imported here, as other servers need neither gRPC's server nor its messages.
    from ingrain.server.dialects.kserve.grpc_service import SERVICE
    from ingrain.server.grpc.server import GrpcServer

    return GrpcServer(SERVICE, services, http_limits(settings), tls=tls, shares_port=settings.workers > 1)
