"""Follows a load for a request, as long as the request's API key is valid."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ingrain.server.plane.operations import Operation
from ingrain.server.plane.services import Services


async def followed(services: Services, operation: Operation) -> AsyncGenerator[None, None]:
    """Yield as ``Operation.changes`` does; end when the request's key is removed or changed, or has expired."""
    key, named = services.key, services.keys.named
    async with aclosing(operation.changes()) as changes:
        async for _ in changes:
            if key is not None and named is not None and not named.has(key):
                return
            yield
