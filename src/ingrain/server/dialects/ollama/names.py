"""Names of models with Ollama's tags: ``model:latest``, ``model:revision``, ``architecture:weights``."""

from __future__ import annotations

from ingrain.errors import InvalidRequestError
from ingrain.libraries import LIBRARIES
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.dialects.ollama.types import OllamaDeleteRequest, OllamaPullRequest, OllamaShowRequest
from ingrain.server.plane.default_model import name_of
from ingrain.server.plane.services import ModelServices, Services
from ingrain.vocabulary import Library

LATEST = "latest"
"""The tag that a name without a tag has."""

_HUBS = ("hf.co/", "huggingface.co/")


def tagged(manifest: Manifest) -> str:
    """Return a model's name with its tag, as it is listed."""
    return f"{manifest.name}:{_tag_of(manifest)}"


def listed(services: Services) -> list[tuple[str, LoadedModel]]:
    """Return the loaded models by their names with tags, and by their aliases."""
    models = [(tagged(model.manifest), model) for model in services.registry.loaded()]
    names = {name for name, _ in models}
    for alias, model in services.registry.loaded_by_alias().items():
        name = ":".join(split(alias))
        if name not in names:
            models.append((name, model))
    return models


def split(given: str) -> tuple[str, str]:
    """Return the name without the address of the hub before it, and its tag; no tag is ``latest``."""
    for hub in _HUBS:
        given = given.removeprefix(hub)
    start, colon, tag = given.rpartition(":")
    if not colon or not start or not tag or "/" in tag:  # the colon of hf-hub:organization/model is none of a tag
        return given, LATEST
    return start, tag


def model_named(services: Services, given: str) -> ModelName:
    """Return the model that a request names; one that is not loaded by the name as it was given."""
    name, tag = split(given)
    if tag == LATEST:
        return ModelName(name=name)
    for model in services.registry.loaded():
        if tagged(model.manifest) == f"{name}:{tag}":
            return name_of(model)
    for slot in services.registry.slots:  # one that is not loaded now
        if slot.ref.name == name and tag in (slot.ref.pretrained, slot.ref.revision):
            return ModelName(name=name, library=slot.ref.library, pretrained=slot.ref.pretrained)
    return ModelName(name=given)


def given_name(body: OllamaShowRequest | OllamaPullRequest | OllamaDeleteRequest) -> str:
    """Return the name in a body, whose older name is ``name``.

    Raises:
        InvalidRequestError: There is none.
    """
    given = body.model or body.name
    if not given:
        raise InvalidRequestError("model is required", param="model")
    return given


async def model_to_load(services: ModelServices, given: str, library: Library | None) -> ModelRef:
    """Return the reference of a model to load, which an alias may name: one of the repository, else one of the hub."""
    name, tag = split(given)
    if target := services.registry.unaliased(f"{name}:{tag}"):
        name, tag = split(target)
    stored = [
        one
        for one in await services.registry.repository_statuses()
        if one.name == name and one.library is not None and library in (None, one.library)
    ]
    with_tag = [one for one in stored if tag == one.pretrained or (tag == LATEST and len(stored) == 1)]
    if len(with_tag) == 1 and with_tag[0].library is not None:
        return ModelRef(name=name, library=with_tag[0].library, pretrained=with_tag[0].pretrained)
    library = library or "sentence_transformers"
    version = tag if tag != LATEST else None
    if LIBRARIES[library].has_pretrained_tag:
        return ModelRef(name=name, library=library, pretrained=version)
    return ModelRef(name=name, library=library, revision=version)


def _tag_of(manifest: Manifest) -> str:
    return manifest.pretrained or manifest.revision or LATEST
