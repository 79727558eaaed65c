"""Serves a gRPC service on a port of its own, by gRPC's own server."""

from __future__ import annotations

import asyncio

import grpc

from ingrain.errors import SettingsError
from ingrain.server.grpc.calls import Calls
from ingrain.server.grpc.service import GrpcService
from ingrain.server.http.interfaces import HttpLimits
from ingrain.server.http.tls import TlsCertificate
from ingrain.server.plane.services import Services

_LAST_ANSWERS_S = 1.0
_MORE_STREAMS = 100
"""Calls of one connection beyond the limit of requests: they are refused at once; more would wait in the client."""
_PING_IDLE_S = 60
_SHORTEST_PING_S = 5


class GrpcServer:
    """Accepts connections and answers calls until it is stopped.

    Args:
        service: The service.
        services: Services for its handlers.
        limits: Limits of each call.
        tls: Certificate for TLS; none if None.
        shares_port: Whether other processes of this server listen on the port, too (``SO_REUSEPORT``): the kernel then
            chooses the process of each connection.
    """

    def __init__(
        self,
        service: GrpcService,
        services: Services,
        limits: HttpLimits,
        *,
        tls: TlsCertificate | None = None,
        shares_port: bool = False,
    ) -> None:
        self._tls = tls
        self._calls = Calls(service, services, limits.read_timeout_s)
        most_bytes = max(services.limits.max_body_bytes, services.limits.max_image_body_bytes)
        self._server = grpc.aio.server(
            handlers=[self._calls.handler()],
            options=[
                ("grpc.so_reuseport", int(shares_port)),
                ("grpc.max_receive_message_length", most_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.absolute_max_metadata_size", limits.max_header_bytes),
                ("grpc.max_metadata_size", limits.max_header_bytes),
                ("grpc.max_concurrent_streams", services.limits.max_requests + _MORE_STREAMS),
                # Notices clients that are gone without a word.
                ("grpc.keepalive_time_ms", 1000 * _PING_IDLE_S),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 1000 * _SHORTEST_PING_S),
            ],
        )

    async def start(self, host: str, port: int) -> int:
        """Accept connections; return the port, which the system chooses for 0.

        Raises:
            SettingsError: The port is in use, or the address does not belong to this machine.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, _Certificate(self._tls).credentials())
        except RuntimeError as error:
            raise SettingsError(
                f"Cannot listen on {host}:{port}. Choose another port with INGRAIN_GRPC_PORT.",
                param="INGRAIN_GRPC_PORT",
            ) from error
        await self._server.start()
        return int(bound)

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls, wait at most ``grace_s`` seconds for those in progress, then close all connections.

        A call that is still in progress in the end gets the status ``UNAVAILABLE``.
        """
        stopping = asyncio.create_task(self._server.stop(grace_s + _LAST_ANSWERS_S))
        await self._calls.finish(grace_s)
        await stopping

    def hurry(self) -> None:
        """Have ``stop`` wait no longer for calls in progress."""
        self._calls.hurry()


class _Certificate:
    """The certificate as gRPC takes it, which asks for it with each connection."""

    def __init__(self, tls: TlsCertificate) -> None:
        self._tls = tls
        self._given = tls.pem

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(_configuration(*self._given), self._changed)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificate if it has changed."""
        current = self._tls.pem
        if current == self._given:
            return None
        self._given = current
        return _configuration(*current)


def _configuration(chain: bytes, key: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, chain)])
