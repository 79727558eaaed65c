"""A canary on loopback that no fetch may reach, and a host that it may."""

from collections.abc import AsyncIterator

import pytest

from picture_server import PictureServer, answer


@pytest.fixture
async def canary() -> AsyncIterator[PictureServer]:
    """Stand for whatever must not be reached: a metadata service, an admin page, a database."""
    async with PictureServer({"/": answer(b"the secret")}) as server:
        yield server
        assert server.connections == 0, "something connected to the canary"


@pytest.fixture
async def pictures() -> AsyncIterator[PictureServer]:
    """Stand for a host that callers may name."""
    async with PictureServer() as server:
        yield server
