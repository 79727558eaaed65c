# Written by `make docs` from aio/server.py; change that one.
"""Methods that ask for the server's health and figures."""

from __future__ import annotations

from ingrain.api import types
from ingrain.api.metrics import MetricsAnswer
from ingrain.api.stats import StatsAnswer
from ingrain.client.answers import Health
from ingrain.client.requests import route_call
from ingrain.client.sync.caller import Caller


class Server(Caller):
    """Asks how the server is."""

    def health(self) -> Health:
        """Ask whether the processes of both planes are alive."""
        inference = self._send(route_call("health", types.MessageAnswer, method="GET"))
        return Health(inference, self.model_server_health())

    def model_server_health(self) -> types.MessageAnswer:
        """Ask whether the model plane's process is alive."""
        return self._send(route_call("health", types.MessageAnswer, plane="model", method="GET"))

    def metrics(self) -> MetricsAnswer:
        """Ask for the engine's statistics."""
        return self._send(route_call("metrics", MetricsAnswer, method="GET"))

    def stats(self) -> StatsAnswer:
        """Ask for the rates and latencies of each model in the last 1, 10 and 60 seconds."""
        return self._send(route_call("stats", StatsAnswer, method="GET"))
