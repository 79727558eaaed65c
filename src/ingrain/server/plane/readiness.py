"""Readiness of the server and of single models."""

from __future__ import annotations

from ingrain.errors import EngineUnavailableError, ModelNotLoadedError
from ingrain.registry.slots import starting
from ingrain.server.plane.services import Services


async def reasons_not_ready(services: Services) -> list[str]:
    """Return a sentence for each reason why the server is not ready; empty if it is ready.

    It is ready if the engine answers, and the models that were to be loaded at the start, or again after a restart of
    the engine, are loaded or have failed. A model that is loaded, tuned or has failed later does not count.
    """
    if reason := await why_not_serving(services):
        return [reason]
    return services.registry.awaited()


async def why_not_serving(services: Services) -> str | None:
    """Return why no model can be served, as a sentence; None if the server has started and the engine answers."""
    starting = services.starting()
    if starting is None and not await services.engine.live():
        services.registry.engine_is_away()
        return "The engine does not answer."
    return starting


async def check_loaded(services: Services, name: str) -> None:
    """Check that a model can serve now. This neither counts as a use of the model nor loads it.

    Raises:
        ModelNotLoadedError: There is no such model.
        EngineUnavailableError: It is not ready, or not loaded until a request needs it.
    """
    registry = services.registry
    if not registry.slots.is_started:
        raise starting()
    try:
        status = registry.status(name, None, None)
    except ModelNotLoadedError:
        await registry.refresh()  # another process on this repository may have loaded it
        status = registry.status(name, None, None)
    if status.is_resting and not registry.loads_on_demand:
        raise ModelNotLoadedError(status.reason or f"Model {name!r} is not loaded.", param="name")
    if status.state != "READY":
        reason = status.reason or "it is being loaded."
        raise EngineUnavailableError(f"Model {name!r} is not ready: {reason}", retry_after_s=1.0)
