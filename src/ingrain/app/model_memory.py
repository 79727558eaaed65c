"""Derives from the settings which models may be loaded at the same time."""

from __future__ import annotations

import math
from functools import partial

from ingrain.app.model_names import parse_model
from ingrain.engine.memory_estimate import estimated_bytes
from ingrain.engine.placement import Placement
from ingrain.errors import SettingsError
from ingrain.machine_memory import machine_bytes
from ingrain.registry.memory import MemoryPolicy
from ingrain.settings import Settings
from ingrain.units import parse_bytes, parse_seconds, parse_share


def memory_policy(settings: Settings, placement: Placement) -> MemoryPolicy:
    """Return the policy.

    Raises:
        SettingsError: A setting is invalid.
    """
    return MemoryPolicy(
        budget_bytes=_budget(settings.model_memory, placement),
        evicts=settings.evict == "lru",
        keep_alive_s=_keep_alive(settings.keep_alive),
        on_demand=settings.load_on_demand,
        pinned=frozenset(parse_model(text).name for text in settings.pinned_models),
        estimate=partial(estimated_bytes, placement=placement),
    )


def _budget(given: str | None, placement: Placement) -> int | None:
    if given is None:
        return None
    share, count = parse_share(given), parse_bytes(given)
    if share is not None:
        total = machine_bytes() if placement.on_this_cpu else None
        if total is None:
            raise SettingsError(
                f"INGRAIN_MODEL_MEMORY is {given!r}, but the memory of which that is a share is not known: graphs run "
                f"on {placement.description}{' on a GPU' if placement.on_this_gpu else ''}. Give bytes, such as 6GiB.",
                param="INGRAIN_MODEL_MEMORY",
            )
        return round(total * share)
    if not count:
        raise SettingsError(
            f"INGRAIN_MODEL_MEMORY is {given!r}; it must be bytes with a unit, such as 6GiB, or a share, such as 60%.",
            param="INGRAIN_MODEL_MEMORY",
        )
    return count


def _keep_alive(given: str | None) -> float:
    seconds = math.inf if given is None else parse_seconds(given)
    if seconds is None:
        raise SettingsError(
            f"INGRAIN_KEEP_ALIVE is {given!r}; it must be seconds, or a duration such as 10m or 1h30m.",
            param="INGRAIN_KEEP_ALIVE",
        )
    return seconds
