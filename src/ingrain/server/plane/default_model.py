"""Finds the model of requests that name none, as some APIs serve one model each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingrain.errors import IngrainError, InvalidRequestError, ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName
from ingrain.registry.slots import Slot, SlotTable, not_ready, starting
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Role


def default_model(
    services: Services, *roles: Role, param: str = "model", fits: Callable[[LoadedModel], bool] | None = None
) -> ModelName:
    """Return the model for a request that names none: a configured one, else the only loaded one that can do the task.

    Args:
        services: Services of the plane.
        roles: Roles of graphs, of which the model must have one. A model in which only a head of a graph has one is
            taken if it is configured, or if no other model can do the task.
        param: Field in which a request of this dialect names a model, for errors.
        fits: Whether a model that has such a graph can do the task; None if all can.

    Raises:
        ModelNotLoadedError: No loaded model can do the task.
        ModelLoadingError: The model is being loaded, or loaded again after a restart of the engine.
        InvalidRequestError: Several can, and none of them is configured.
    """
    slots = services.registry.slots
    able, configured = _able(slots, roles, fits, with_heads=False), services.limits.default_models
    with_heads = _able(slots, roles, fits, with_heads=True) if configured or not able else []
    for name in configured:
        for slot in slots.matching(services.registry.meant(name), None, None):
            if slot in with_heads and slot.model is not None and slot.state == "READY":
                return name_of(slot.model)
            if slot.is_resting and services.registry.loads_on_demand:
                return _name_of(slot)
            if slot in with_heads or (slot.model is None and (slot.is_awaited or slot.state == "READY")):
                raise not_ready(slot)  # another model would give other vectors for as long as this one is away
    able = able or with_heads
    ready = [slot.model for slot in able if slot.model is not None and slot.state == "READY"]
    if len(ready) == 1:
        return name_of(ready[0])
    if not ready:
        if not able and (resting := _only_resting(services)) is not None:
            return resting
        raise _none_ready(slots, able, param)
    names = ", ".join(sorted(model.manifest.name for model in ready))
    raise InvalidRequestError(
        f"Several loaded models can do this ({names}), and the request names none. Name one, or set "
        "INGRAIN_DEFAULT_MODELS on the server.",
        param=param,
    )


def _only_resting(services: Services) -> ModelName | None:
    """Return the only model of the table if the request can load it again."""
    slots = list(services.registry.slots)
    is_one = services.registry.loads_on_demand and len(slots) == 1 and slots[0].is_resting
    return _name_of(slots[0]) if is_one else None


def _name_of(slot: Slot) -> ModelName:
    return ModelName(name=slot.ref.name, library=slot.ref.library, pretrained=slot.ref.pretrained)


def _able(
    slots: SlotTable, roles: Sequence[Role], fits: Callable[[LoadedModel], bool] | None, *, with_heads: bool
) -> list[Slot]:
    """Return the slots of models that can do the task, ready or not."""
    able = []
    for slot in slots:  # plain loops: they are a share of what the front end spends on a text
        model = slot.model
        if model is not None and slot.state != "UNLOADING":
            known = model.manifest.roles if with_heads else model.queues
            for role in roles:
                if role in known:
                    if fits is None or fits(model):
                        able.append(slot)
                    break
    return able


def _none_ready(slots: SlotTable, able: Sequence[Slot], param: str) -> IngrainError:
    """Build the error for a task that no ready model can do: another one if a model may soon be ready for it."""
    if not slots.is_started:
        return starting()
    # In a worker a model that is READY may not be open yet.
    coming = (slot for slot in slots if slot.state in ("LOADING", "READY") or slot.is_awaited or slot.lacks_engine)
    for slot in (*able, *(slot for slot in coming if slot.model is None)):
        return not_ready(slot)
    return ModelNotLoadedError("No loaded model can do this. POST /load_model loads one.", param=param)


def name_of(model: LoadedModel) -> ModelName:
    """Return the unambiguous name of a loaded model."""
    manifest = model.manifest
    return ModelName(name=manifest.name, library=manifest.library, pretrained=manifest.pretrained)
