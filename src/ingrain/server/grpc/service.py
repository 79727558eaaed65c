"""The types with which a dialect declares its gRPC service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ingrain.server.plane.route import Dialect, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of a service.

    Attributes:
        route: How requests are handled: ``body`` of a request is the serialized message, and of a response the one to
            send. Its path is the method's, and stands in the metrics.
        refusal: Of a method with streams of both directions, each of whose messages is a request: makes the message
            that tells of an error, from the request's message and the text. None for a method with one message each.
    """

    route: Route
    refusal: Callable[[bytes, str], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcService:
    """A service.

    Attributes:
        name: Its full name.
        methods: Its methods by name.
        dialect: Makes the errors; ``error`` in its bodies is the text of a gRPC status.
    """

    name: str
    methods: Mapping[str, Method]
    dialect: Dialect
