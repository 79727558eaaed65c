"""The limits of queues, requests and connections as the settings have them, and one worker's share of them."""

from __future__ import annotations

from math import ceil

import msgspec

from ingrain.cores import usable_cores
from ingrain.engine.placement import default_batch_size, devices, engine_name, runs_on_this_cpu
from ingrain.models.loaded import QueueLimits
from ingrain.pipeline.task import RequestLimits
from ingrain.server.http.host import HttpLimits
from ingrain.settings import Settings

_ENOUGH_ON_A_CPU = 8
# What a batch of more tokens works on no longer fits the caches of a core: measured, 256 to 512 tokens are the fastest.
_MOST_TOKENS_ON_A_CPU = 512
_MOST_TOKENS = 4096


def queue_limits(settings: Settings) -> QueueLimits:
    """Return the limits of each model's queues."""
    on_cpu = runs_on_this_cpu(settings)
    max_batch_size = default_batch_size(settings)
    return QueueLimits(
        max_batch_size=max_batch_size,
        max_batch_tokens=settings.max_batch_tokens or (_MOST_TOKENS_ON_A_CPU if on_cpu else _MOST_TOKENS),
        enough_items=_ENOUGH_ON_A_CPU if on_cpu else max_batch_size,
        max_queue_tokens=settings.max_queue_tokens,
        engine_timeout_s=settings.request_timeout_s,
        few_lengths=_triton_merges(settings),
        devices=devices(settings),
    )


def _triton_merges(settings: Settings) -> bool:
    """Tell whether other front ends may send batches of the same graphs to the same Triton, and it merges them."""
    return settings.dynamic_batching and (settings.workers > 1 or engine_name(settings) == "triton")


def request_limits(settings: Settings) -> RequestLimits:
    """Return what one request may ask for."""
    return RequestLimits(
        max_items=settings.max_items, max_text_chars=settings.max_text_chars, timeout_s=settings.request_timeout_s
    )


def http_limits(settings: Settings) -> HttpLimits:
    """Return what a caller may take of the server."""
    return HttpLimits(
        max_header_bytes=settings.max_header_bytes,
        max_body_bytes=settings.max_body_bytes,
        read_timeout_s=settings.request_timeout_s,
    )


def worker_share(settings: Settings) -> Settings:
    """Return the settings with what is limited for all requests together divided among the workers, rounded up."""
    workers = settings.workers
    return msgspec.structs.replace(
        settings,
        max_queue_tokens=ceil(settings.max_queue_tokens / workers),
        max_requests=ceil(settings.max_requests / workers),
        max_fetches=ceil(settings.max_fetches / workers),
        image_threads=ceil((settings.image_threads or usable_cores()) / workers),
    )
