"""Derives limits from the settings: for queues, requests, connections, images, fetches, and for one worker."""

from __future__ import annotations

from dataclasses import fields
from math import ceil

import msgspec

from ingrain.app.sites import host_names
from ingrain.batching.row_cache import RowCache
from ingrain.cores import usable_cores
from ingrain.engine.placement import Placement
from ingrain.errors import SettingsError
from ingrain.fetch.policy import FetchPolicy, read_exception
from ingrain.models.queues import QueueLimits
from ingrain.pipeline.task import RequestLimits
from ingrain.preprocess.image_input import ImageLimits
from ingrain.preprocess.text_threads import TextThreads
from ingrain.server.http.interfaces import HttpLimits
from ingrain.server.plane.limits import PlaneLimits
from ingrain.settings import Settings


def queue_limits(settings: Settings, placement: Placement) -> QueueLimits:
    """Return the limits of model queues, with a new cache of rows and new threads for texts."""
    # Several front ends may send batches of one graph to the same Triton, which can merge them.
    is_shared = settings.workers > 1 or not placement.on_this_machine
    return QueueLimits(
        max_batch_size=placement.batch_items,
        max_batch_tokens=placement.batch_tokens,
        overhead_tokens=placement.overhead_tokens,
        max_queue_tokens=settings.max_queue_tokens,
        engine_timeout_s=settings.request_timeout_s,
        few_lengths=settings.dynamic_batching and is_shared,
        devices=placement.devices,
        row_cache=RowCache(settings.cache_bytes) if settings.cache_bytes else None,
        text_threads=TextThreads(settings.text_threads),
    )


def request_limits(settings: Settings) -> RequestLimits:
    """Return the limits of one request."""
    return RequestLimits(
        max_items=settings.max_items,
        max_text_chars=settings.max_text_chars,
        timeout_s=settings.request_timeout_s,
        max_answer_bytes=settings.max_answer_bytes,
    )


def plane_limits(settings: Settings) -> PlaneLimits:
    """Return the limits that request handlers check."""
    return PlaneLimits(**{field.name: getattr(settings, field.name) for field in fields(PlaneLimits)})


def model_aliases(settings: Settings) -> dict[str, str]:
    """Return the model's name of each alias.

    Raises:
        SettingsError: An entry is not of the form ``alias=model``, or an alias is given twice or for another alias.
    """
    aliases: dict[str, str] = {}
    for entry in settings.model_aliases:
        alias, _, name = (part.strip() for part in entry.partition("="))
        if not alias or not name:
            raise SettingsError(
                f"INGRAIN_MODEL_ALIASES has {entry[:100]!r}; each entry must be `alias=model`.",
                param="INGRAIN_MODEL_ALIASES",
            )
        if alias in aliases:
            raise SettingsError(f"INGRAIN_MODEL_ALIASES names {alias[:100]!r} twice.", param="INGRAIN_MODEL_ALIASES")
        aliases[alias] = name
    for alias, name in aliases.items():
        if name in aliases:
            raise SettingsError(
                f"INGRAIN_MODEL_ALIASES has {alias[:100]!r} for {name[:100]!r}, which is an alias; name its model.",
                param="INGRAIN_MODEL_ALIASES",
            )
    return aliases


def http_limits(settings: Settings) -> HttpLimits:
    """Return the limits of a connection and its requests."""
    return HttpLimits(
        max_header_bytes=settings.max_header_bytes,
        read_timeout_s=settings.request_timeout_s,
    )


def image_limits(settings: Settings) -> ImageLimits:
    """Return the limits of images and of image fetches."""
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
        max_fetches=settings.max_fetches_per_request,
        threads=settings.image_threads,
    )


def fetch_policy(settings: Settings) -> FetchPolicy:
    """Return the policy for fetching URLs.

    Raises:
        SettingsError: An entry of ``INGRAIN_FETCH_ALLOW`` is not ``host:port``, or a host is none.
    """
    return FetchPolicy(
        mode="off" if settings.offline else settings.image_fetch,
        off_by="INGRAIN_OFFLINE=true" if settings.offline else "INGRAIN_IMAGE_FETCH=off",
        hosts=host_names(settings.fetch_hosts, "INGRAIN_FETCH_HOSTS", wildcard="*."),
        exceptions=frozenset(map(read_exception, settings.fetch_allow)),
        read_timeout_s=settings.fetch_timeout_s,
        total_timeout_s=settings.fetch_timeout_s,
        ca_file=settings.fetch_ca_file,
        max_at_once=settings.max_fetches,
    )


def worker_share(settings: Settings) -> Settings:
    """Return the settings of one worker: limits for all requests together are divided by the workers, rounded up.

    The share of the bodies has room for the largest one and its gzip file; otherwise no worker would ever take them.
    """
    workers = settings.workers
    largest_body = 2 * max(settings.max_body_bytes, settings.max_image_body_bytes)
    return msgspec.structs.replace(
        settings,
        max_queue_tokens=ceil(settings.max_queue_tokens / workers),
        max_requests=ceil(settings.max_requests / workers),
        max_bodies_bytes=min(settings.max_bodies_bytes, max(ceil(settings.max_bodies_bytes / workers), largest_body)),
        cache_bytes=settings.cache_bytes // workers,
        max_fetches=ceil(settings.max_fetches / workers),
        text_threads=ceil((settings.text_threads or usable_cores() // 2 or 1) / workers),
        image_threads=ceil((settings.image_threads or usable_cores()) / workers),
    )
