"""Methods that ask for the server's health and figures."""

from __future__ import annotations

from ingrain.api import types
from ingrain.api.metrics import MetricsAnswer
from ingrain.api.stats import StatsAnswer
from ingrain.client.aio.caller import AsyncCaller
from ingrain.client.answers import Health
from ingrain.client.requests import route_call


class Server(AsyncCaller):
    """Asks how the server is."""

    async def health(self) -> Health:
        """Ask whether the processes of both planes are alive."""
        inference = await self._send(route_call("health", types.MessageAnswer, method="GET"))
        return Health(inference, await self.model_server_health())

    async def model_server_health(self) -> types.MessageAnswer:
        """Ask whether the model plane's process is alive."""
        return await self._send(route_call("health", types.MessageAnswer, plane="model", method="GET"))

    async def metrics(self) -> MetricsAnswer:
        """Ask for the engine's statistics."""
        return await self._send(route_call("metrics", MetricsAnswer, method="GET"))

    async def stats(self) -> StatsAnswer:
        """Ask for the rates and latencies of each model in the last 1, 10 and 60 seconds."""
        return await self._send(route_call("stats", StatsAnswer, method="GET"))
