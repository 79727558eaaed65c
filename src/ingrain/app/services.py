"""Builds the services that request handlers use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial

from ingrain.app.followers import followers
from ingrain.app.keys import key_ring, window_table
from ingrain.app.limits import fetch_policy, image_limits, model_aliases, plane_limits, request_limits
from ingrain.app.precision import why_not
from ingrain.app.sites import site_policy
from ingrain.batching.row_cache import RowCache
from ingrain.cores import usable_cores
from ingrain.engine.placement import Placement
from ingrain.engine.protocol import Engine, GraphRunner, GraphStatistics
from ingrain.fetch.fetcher import Fetcher
from ingrain.pipeline.pipeline import Pipeline
from ingrain.preprocess.image_input import ImageInput
from ingrain.registry.protocol import Models
from ingrain.registry.registry import Registry
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.keys.watched import WatchedKeys
from ingrain.server.keys.windows import WindowTable
from ingrain.server.plane.counts import Counts
from ingrain.server.plane.operations import Operations
from ingrain.server.plane.services import ModelServices, Services
from ingrain.server.plane.telemetry import Load, Telemetry
from ingrain.server.plane.triton_metrics import TritonMetrics
from ingrain.settings import Settings
from ingrain.sources.custom.download import Downloads

_BODY_BYTES_PER_CORE_S = 64 * 1024 * 1024
"""Pace of reading large bodies for each core: less than a tenth of a core's time."""


def image_input(settings: Settings) -> ImageInput:
    """Build the service that fetches, decodes and resizes the images of requests."""
    return ImageInput(Fetcher(fetch_policy(settings)), image_limits(settings))


def inference_services(
    settings: Settings,
    placement: Placement,
    *,
    engine: GraphRunner,
    registry: Models,
    images: ImageInput,
    starting: Callable[[], str | None],
    statistics: Callable[[], Awaitable[list[GraphStatistics]]],
    totals: Callable[[], Awaitable[Counts]] | None = None,
    row_cache: RowCache | None = None,
    windows: WindowTable | None = None,
    process: str | None = None,
) -> Services:
    """Build the services of the inference plane.

    ``totals`` returns the counts of all processes, if there are several; ``row_cache`` is this process's cache,
    ``windows`` what the named keys have taken, if there is a keys file; ``process`` is the name of this process in the
    log, if there are several. The other arguments are described in ``Services``.
    """
    load, keys = Load(), key_ring(settings, windows)
    registry.aliases = model_aliases(settings)
    telemetry = Telemetry(
        registry, load, totals, row_cache, keys.named, engine, TritonMetrics(settings.triton_metrics_url)
    )
    return Services(
        limits=plane_limits(settings),
        bodies=BodyBudget(settings.max_bodies_bytes, _BODY_BYTES_PER_CORE_S * usable_cores() / settings.workers),
        parsing=ThreadPoolExecutor(1, "parse"),
        engine=engine,
        registry=registry,
        pipeline=Pipeline(registry, images, request_limits(settings), count_task=telemetry.count_task),
        telemetry=telemetry,
        keys=keys,
        sites=site_policy(settings),
        shows_docs=settings.docs,
        load=load,
        starting=starting,
        statistics=statistics,
        why_not=partial(why_not, placement),
        followers=followers(settings, telemetry, process),
    )


def model_services(
    settings: Settings,
    placement: Placement,
    *,
    engine: Engine,
    registry: Registry,
    images: ImageInput,
    starting: Callable[[], str | None] = lambda: None,
    row_cache: RowCache | None = None,
) -> ModelServices:
    """Build the services of both planes, for the process that owns engine and registry.

    Raises:
        SettingsError: A key or a file of keys cannot be used.
    """
    windows = window_table(settings) if settings.keys_file is not None else None
    services = inference_services(
        settings,
        placement,
        engine=engine,
        registry=registry,
        images=images,
        starting=starting,
        statistics=registry.statistics,
        row_cache=row_cache,
        windows=windows,
    )
    keys_file = None
    if settings.keys_file is not None and windows is not None and services.keys.named is not None:
        keys_file = WatchedKeys(settings.keys_file, windows)
        services.keys.named.replace(keys_file.known)
    downloads = Downloads.make(
        registry.repository,
        fetch_policy(settings),
        local_models_dir=settings.local_models_dir,
        max_bytes=settings.max_download_bytes,
        timeout_s=settings.download_timeout_s,
    )
    engine.on_restart(services.telemetry.engine_came_back)
    inference = {field.name: getattr(services, field.name) for field in fields(services)}
    return ModelServices(
        **inference, downloads=downloads, operations=Operations(registry, settings.max_operations), keys_file=keys_file
    )
