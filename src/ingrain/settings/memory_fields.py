"""Defines the settings of the memory that models take; ``Settings`` has them with all others."""

from __future__ import annotations

from typing import Annotated, Literal

from ingrain.settings.kinds import setting
from ingrain.settings.repository_fields import RepositorySettings


class MemorySettings(RepositorySettings, frozen=True, kw_only=True):
    """How much memory models may take together, and which of them go when it is needed."""

    model_memory: Annotated[
        str | None,
        setting(
            "INGRAIN_MODEL_MEMORY",
            "Memory for all loaded models together: bytes with a unit, such as `6GiB`, or a share of the machine's or "
            "the container's memory, such as `60%` (docs/memory.md). Not set: no limit.",
        ),
    ] = None
    evict: Annotated[
        Literal["lru", "never"],
        setting(
            "INGRAIN_EVICT",
            "What makes room for a model within INGRAIN_MODEL_MEMORY. `lru`: the model that was not used for the "
            "longest time and has no requests is unloaded; `never`: the load is refused.",
        ),
    ] = "lru"
    keep_alive: Annotated[
        str | None,
        setting(
            "INGRAIN_KEEP_ALIVE",
            "Unload a model that was not used for this time: seconds, or a duration such as `10m` or `1h30m`. Not set, "
            "or negative: models stay loaded.",
        ),
    ] = None
    load_on_demand: Annotated[
        bool,
        setting(
            "INGRAIN_LOAD_ON_DEMAND",
            "Load a model of the repository when a request names it; the request waits for it.",
        ),
    ] = False
    pinned_models: Annotated[
        tuple[str, ...],
        setting(
            "INGRAIN_PINNED_MODELS",
            "Names of models, separated by commas, that are neither unloaded to make room nor for being idle.",
        ),
    ] = ()
