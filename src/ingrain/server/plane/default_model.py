"""Finds the model of requests that name none, as some APIs serve one model each."""

from __future__ import annotations

from collections.abc import Callable

from ingrain.errors import InvalidRequestError, ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Role


def default_model(
    services: Services, *roles: Role, param: str = "model", fits: Callable[[LoadedModel], bool] | None = None
) -> ModelName:
    """Return the model for a request that names none: a configured one, else the only loaded one that can do the task.

    Args:
        services: Services of the plane.
        roles: Roles of graphs, of which the model must have one.
        param: Field in which a request of this dialect names a model, for errors.
        fits: Whether a model that has such a graph can do the task; None if all can.

    Raises:
        ModelNotLoadedError: No loaded model can do the task.
        InvalidRequestError: Several can, and none of them is configured.
    """
    able = []
    for model in services.registry.loaded():  # plain loops: they are a share of what the front end spends on a text
        for role in roles:
            if role in model.queues:
                if fits is None or fits(model):
                    able.append(model)
                break
    if len(able) == 1:
        return name_of(able[0])
    if not able:
        raise ModelNotLoadedError("No loaded model can do this. POST /load_model loads one.", param=param)
    by_name = {model.manifest.name: model for model in able}
    for name in services.limits.default_models:
        if name in by_name:
            return name_of(by_name[name])
    names = ", ".join(sorted(by_name))
    raise InvalidRequestError(
        f"Several loaded models can do this ({names}), and the request names none. Name one, or set "
        "INGRAIN_DEFAULT_MODELS on the server.",
        param=param,
    )


def name_of(model: LoadedModel) -> ModelName:
    """Return the unambiguous name of a loaded model."""
    manifest = model.manifest
    return ModelName(name=manifest.name, library=manifest.library, pretrained=manifest.pretrained)
