"""What the handlers of both planes work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ingrain.engine.protocol import Engine, GraphRunner, GraphStatistics
from ingrain.pipeline.pipeline import Pipeline
from ingrain.registry.protocol import Models
from ingrain.registry.registry import Registry
from ingrain.server.plane.auth import KeyRing
from ingrain.server.plane.limits import PlaneLimits
from ingrain.server.plane.telemetry import Load, Telemetry
from ingrain.sources.custom.download import Downloads
from ingrain.vocabulary import Library, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One of each, shared by what a process serves: all that the inference plane needs.

    Attributes:
        limits: Limits of requests.
        engine: Runs the graphs.
        registry: Knows the models.
        pipeline: Turns requests into vectors.
        telemetry: Counts.
        keys: Who may call what.
        load: How many requests are being answered.
        starting: Tells why the server is not ready yet as a whole, or None.
        statistics: Tells what the engine has counted for users.
        why_not: Tells why a precision cannot be served here, as the end of a sentence; None if it can.
    """

    limits: PlaneLimits
    engine: GraphRunner
    registry: Models
    pipeline: Pipeline
    telemetry: Telemetry
    keys: KeyRing
    load: Load
    starting: Callable[[], str | None]
    statistics: Callable[[], Awaitable[list[GraphStatistics]]]
    why_not: Callable[[Precision | None, Library | None], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServices(Services):
    """What the model plane needs besides; the process that has it owns engine and registry.

    Attributes:
        engine: Loads graphs, too.
        registry: Loads and unloads models, too.
        downloads: Fetches custom models.
    """

    engine: Engine
    registry: Registry
    downloads: Downloads
