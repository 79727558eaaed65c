"""Readiness of the engine and of all models."""

from __future__ import annotations

from ingrain.server.plane.services import Services


async def reasons_not_ready(services: Services) -> list[str]:
    """Return a sentence for each reason why the server is not ready; empty if it is ready."""
    starting = services.starting()
    if starting is not None:
        return [starting]
    reasons = [] if await services.engine.live() else ["The engine does not answer."]
    for status in services.registry.statuses():
        if status.state != "READY":
            reasons.append(f"Model {status.name!r}: {status.reason or 'it is being loaded.'}")
    return reasons
