"""The services that handlers use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from ingrain.engine.protocol import Engine, GraphRunner, GraphStatistics
from ingrain.pipeline.pipeline import Pipeline
from ingrain.registry.protocol import Models
from ingrain.registry.registry import Registry
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.message import Request
from ingrain.server.keys.named import NamedKey
from ingrain.server.keys.watched import WatchedKeys
from ingrain.server.plane.auth import KeyRing
from ingrain.server.plane.limits import PlaneLimits
from ingrain.server.plane.operations import Operations
from ingrain.server.plane.site_policy import SitePolicy
from ingrain.server.plane.telemetry import Load, Telemetry
from ingrain.sources.custom.download import Downloads
from ingrain.vocabulary import Library, Precision


class Following(Protocol):
    """Follows requests through their stages."""

    def begin(self, endpoint: Any, request: Request) -> Any:
        """Begin the exchange of an endpoint with a request."""
        ...

    def close(self) -> None:
        """Write what was not written yet; blocks."""
        ...

    def give_up(self) -> None:
        """Give up what is not written yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Services for the inference plane; a process has one of each.

    Attributes:
        limits: Limits of requests.
        bodies: Counts the bytes of all request bodies.
        parsing: Thread that decodes large bodies, one after the other.
        engine: Runs the graphs.
        registry: Finds the loaded models.
        pipeline: Runs tasks.
        telemetry: Counts requests.
        keys: Checks API keys.
        sites: Decides which requests of browsers are accepted.
        load: Numbers of requests in progress.
        starting: Returns why the server is still starting; None once it has started.
        statistics: Returns the engine's statistics of the graphs.
        why_not: Returns why this server cannot serve a precision, as the end of a sentence; None if it can.
        followers: Begins the exchanges of requests whose stages are timed; None if nobody wants to know the times.
        shows_docs: Whether the routes are documented at ``/docs`` and ``/openapi.json``.
        key: The named key of the request, in the services of such a request (``permitted``).
    """

    limits: PlaneLimits
    bodies: BodyBudget
    parsing: Executor
    engine: GraphRunner
    registry: Models
    pipeline: Pipeline
    telemetry: Telemetry
    keys: KeyRing
    sites: SitePolicy
    load: Load
    starting: Callable[[], str | None]
    statistics: Callable[[], Awaitable[list[GraphStatistics]]]
    why_not: Callable[[Precision | None, Library | None], str | None]
    followers: Following | None = None
    shows_docs: bool = True
    key: NamedKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServices(Services):
    """Extra services for the model plane; only the process that owns engine and registry has them.

    Attributes:
        engine: Runs and loads graphs.
        registry: Finds, loads and unloads models.
        downloads: Downloads custom models.
        operations: Starts and follows loads.
        keys_file: The keys file, which this process reads for all; None if there is none.
    """

    engine: Engine
    registry: Registry
    downloads: Downloads
    operations: Operations
    keys_file: WatchedKeys | None = None
