"""Faults of the connection between front ends and an external Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from chaos.faults.registration import fault
from chaos.proxy import Proxy
from chaos.set_up import SetUp


@fault("external")
async def black_hole(set_up: SetUp) -> float:
    """Forward nothing for three to ten seconds, and then what was held."""
    proxy = _proxy(set_up)
    seconds = set_up.rng.uniform(3, 10)
    proxy.hold()
    try:
        await asyncio.sleep(seconds)
    finally:
        proxy.release()
    return seconds


@fault("external")
async def silent_connections(set_up: SetUp) -> float:
    """Never forward anything again on the open connections; new ones work."""
    _proxy(set_up).hold_open_ones()
    return 0


@fault("external")
async def delay(set_up: SetUp) -> float:
    """Delay everything by up to 0.3 seconds in each direction, for five seconds."""
    proxy = _proxy(set_up)
    proxy.delay_s = set_up.rng.uniform(0.05, 0.3)
    try:
        await asyncio.sleep(5)
    finally:
        proxy.delay_s = 0
    return 5


@fault("external")
async def reset(set_up: SetUp) -> float:
    """Reset all connections."""
    _proxy(set_up).cut()
    return 0


@fault("external")
async def refuse(set_up: SetUp) -> float:
    """Reset all connections, and close new ones at once for one to four seconds."""
    proxy = _proxy(set_up)
    seconds = set_up.rng.uniform(1, 4)
    proxy.refuses = True
    try:
        proxy.cut()
        await asyncio.sleep(seconds)
    finally:
        proxy.refuses = False
    return seconds


@fault("external")
async def flip_heads(set_up: SetUp) -> float:
    """Flip one bit in the heads of every tenth chunk for three seconds, so that both sides lose their place."""
    with _flipping(_proxy(set_up), only_heads=True):
        await asyncio.sleep(3)
    return 3


@fault("external", may_corrupt=True)
async def flip_bits(set_up: SetUp) -> float:
    """Flip one bit anywhere in every tenth chunk for three seconds; gRPC has no checksum for numbers."""
    with _flipping(_proxy(set_up), only_heads=False):
        await asyncio.sleep(3)
    return 3


@contextmanager
def _flipping(proxy: Proxy, *, only_heads: bool) -> Iterator[None]:
    proxy.flips, proxy.only_heads = 0.1, only_heads
    try:
        yield
    finally:
        proxy.flips = 0


def _proxy(set_up: SetUp) -> Proxy:
    assert set_up.proxy is not None
    return set_up.proxy
