"""Readiness of the server and of single models."""

from __future__ import annotations

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
