"""Both clients under one face, so that one suite holds for both: every method is awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ingrain

# Of their own: the server in the same process needs the loop's threads, and would starve beside waiting callers.
_THREADS = ThreadPoolExecutor(40)


class Api:
    """A client whose methods are coroutines, whichever client it is."""

    def __init__(self, kind: str, *args: Any, **options: Any) -> None:
        self.kind = kind
        self.client = (ingrain.AsyncClient if kind == "async" else ingrain.Client)(*args, **options)

    @classmethod
    def of(cls, client: Any) -> Api:
        """Wrap a client that is there already."""
        api = cls.__new__(cls)
        api.kind, api.client = "async" if isinstance(client, ingrain.AsyncClient) else "sync", client
        return api

    def __getattr__(self, name: str) -> Any:
        return _awaitable(getattr(self.client, name))

    def awaitable(self, method: Any) -> Any:
        """Return any method, of either kind, as one that is awaited."""
        return _awaitable(method)

    async def close(self) -> None:
        if self.kind == "async":
            await self.client.aclose()
        else:
            self.client.close()

    async def stream(self, name: str, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """Yield what a streaming method yields, part by part."""
        parts = getattr(self.client, name)(*args, **options)
        if self.kind == "async":
            async for part in parts:
                yield part
            return
        end = object()
        while (part := await in_thread(lambda: next(parts, end))) is not end:
            yield part


class ModelApi:
    """A model under the same face."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.model, name)
        return _awaitable(found) if callable(found) else found


async def in_thread(work: Callable[[], Any]) -> Any:
    """Return what a blocking function returns."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


def _awaitable(method: Any) -> Any:
    async def call(*args: Any, **options: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            answer = await method(*args, **options)
        else:
            answer = await in_thread(lambda: method(*args, **options))
        return ModelApi(answer) if isinstance(answer, ingrain.Model | ingrain.AsyncModel) else answer

    return call
