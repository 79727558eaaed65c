"""Asks several Tritons at once whether one of them responds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ingrain.engine.triton.engine import TritonEngine


async def is_any_live(engines: Sequence[TritonEngine]) -> bool:
    """Return as soon as one Triton responds, or when none does."""
    asked = [asyncio.create_task(engine.live()) for engine in engines]
    try:
        for answer in asyncio.as_completed(asked):
            if await answer:
                return True
        return False
    finally:
        for task in asked:
            task.cancel()
