"""What a key with some models is given in the place of the registry."""

from ingrain.registry.protocol import Models
from ingrain.registry.registry import Registry
from ingrain.server.plane.operations import Operations
from ingrain.server.plane.permitted import (
    PermittedDownloads,
    PermittedModels,
    PermittedOperations,
    PermittedRegistry,
)
from ingrain.sources.custom.download import Downloads

# Of the process, not of requests; what handlers may call must be written for keys with some models, too.
NOT_FOR_HANDLERS = {
    *("start", "close", "statistics", "stop_tuning", "progress", "view", "make", "aclose"),
    *("used", "moves", "load_on_demand", "stop_loading", "queue_position", "stop_following", "wake"),
}


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_") and callable(getattr(kind, name))}


def test_every_method_of_what_handlers_use_is_there_for_a_key_with_some_models():
    assert public(Registry) - public(Models) - NOT_FOR_HANDLERS <= public(PermittedRegistry)
    assert public(Downloads) - NOT_FOR_HANDLERS <= public(PermittedDownloads)
    assert public(Operations) - NOT_FOR_HANDLERS <= public(PermittedOperations)


def test_what_names_a_model_is_checked_and_not_inherited():
    named = {name for name in public(Models) if "name" in getattr(Models, name).__annotations__}
    assert named - {"unaliased", "meant", "own_name"} <= public(PermittedModels)
