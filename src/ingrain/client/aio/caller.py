"""Base class of the client's groups of methods: options, connections and sending of requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from ingrain.api import types
from ingrain.client.aio.transport import AsyncTransport
from ingrain.client.answers import Embeddings, Part, embeddings_of
from ingrain.client.call import Call
from ingrain.client.options import Options
from ingrain.client.pictures import Shrink
from ingrain.client.requests import ModelName, route_call
from ingrain.client.rows import Calls, Job

R = TypeVar("R")


class AsyncCaller:
    """Sends requests; the base class of the client's groups of methods."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.return_numpy = options.return_numpy
        self._transport = AsyncTransport(options)
        self._geometries: dict[ModelName, types.ImageGeometryAnswer] = {}

    @property
    def inference_server_url(self) -> str:
        """Address of the inference plane."""
        return self._options.planes["inference"].url

    @property
    def model_server_url(self) -> str:
        """Address of the model plane."""
        return self._options.planes["model"].url

    async def _send(self, call: Call[R]) -> R:
        """Send one request and return its result."""
        return await self._transport.send(call)

    async def _run(self, job: Job[R]) -> R:
        """Send all requests of a job, and return the combined result."""
        try:
            async with aclosing(self._transport.each(job.calls)) as parts:
                async for part in parts:
                    job.add(part)
        finally:
            job.close()
        return job.result()

    async def _stream(self, calls: Calls[Part]) -> AsyncGenerator[Embeddings]:
        """Yield the vectors of each request."""
        async with aclosing(self._transport.each(calls)) as parts:
            async for part in parts:
                yield embeddings_of(part)

    async def _shrink(self, model: ModelName, wanted: bool) -> Shrink | None:
        """Return a function that shrinks images for a model, or None; fetch the model's geometry once."""
        if not wanted:
            return None
        from ingrain.client.shrink import shrink

        if model not in self._geometries:
            call = route_call("model_image_geometry", types.ImageGeometryAnswer, model, method="GET", plane="model")
            self._geometries[model] = await self._send(call)
        return partial(shrink, geometry=self._geometries[model].steps)

    def _as_numpy(self, wanted: bool | None) -> bool:
        return self.return_numpy if wanted is None else wanted
