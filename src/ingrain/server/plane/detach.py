"""Lets work finish although nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

_unfinished: set[asyncio.Future[Any]] = set()  # the event loop has only weak references to its tasks


def detach(work: Awaitable[T]) -> asyncio.Future[T]:
    """Start a task that finishes even if its waiter is cancelled; wait for it by ``asyncio.shield`` or ``wait``."""
    task = asyncio.ensure_future(work)
    _unfinished.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Future[T]) -> None:
    _unfinished.discard(task)
    if not task.cancelled():
        task.exception()  # marks the exception as retrieved; the waiter has already reported it
