"""The services as a named key sees them: models that it may not use are refused, and are in no list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar, cast

from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import IngrainError, ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.registry.protocol import Models
from ingrain.registry.registry import Registry
from ingrain.registry.slots import Slot, SlotTable
from ingrain.registry.status import ModelStatus
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.keys.named import NamedKey
from ingrain.server.plane.operations import Operation, Operations, no_operation
from ingrain.server.plane.services import ModelServices, Services
from ingrain.sources.custom.download import Download, Downloads
from ingrain.tuning.machine import TuningMachine
from ingrain.vocabulary import Library

AnyServices = TypeVar("AnyServices", bound=Services)


def permitted(services: AnyServices, key: NamedKey) -> AnyServices:
    """Return the services of a process for the requests of a key, whose tokens are counted; made once for each key."""
    if key.permitted is None:
        key.permitted = _made_for(services, key)
    return cast("AnyServices", key.permitted)


def _made_for(services: Services, key: NamedKey) -> Services:
    registry = services.registry
    if key.known.entry.models is not None:
        if isinstance(services, ModelServices):
            registry = PermittedRegistry(services.registry, key)
            services = replace(
                services,
                downloads=cast("Downloads", PermittedDownloads(services.downloads, key)),
                operations=cast("Operations", PermittedOperations(services.operations, key)),
                registry=cast("Registry", registry),
            )
        else:
            registry = PermittedModels(registry, key)
            services = replace(services, registry=registry)
    pipeline = replace(services.pipeline, registry=registry, count_tokens=key.take_tokens)
    return replace(services, pipeline=pipeline, key=key)


def with_names(error: IngrainError, key: NamedKey | None) -> IngrainError:
    """Return a refusal for lack of room with the names of the loaded models, those that the request's key may see."""
    loaded = error.facts.get("loadedModels")
    if not isinstance(loaded, list):
        return error
    seen = [name for name in loaded if key is None or key.allows(name)]
    message = f"{error.message} Loaded: {', '.join(map(repr, seen))}." if seen else error.message
    facts = {**error.facts, "loadedModels": seen}
    return type(error)(message, param=error.param, retry_after_s=error.retry_after_s, facts=facts)


class PermittedSlots(SlotTable):
    """The slots of the models that a key may use."""

    def __init__(self, slots: SlotTable, key: NamedKey) -> None:
        self._slots = slots
        self._key = key

    @property
    def is_started(self) -> bool:  # type: ignore[override]  # only the registry writes the attribute
        """Whether the table has all models that should be loaded."""
        return self._slots.is_started

    def __iter__(self) -> Iterator[Slot]:
        return (slot for slot in self._slots if self._key.allows(slot.ref.name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, slot: Slot) -> bool:
        return slot in self._slots and self._key.allows(slot.ref.name)

    def of(self, ref: ModelRef) -> Slot | None:
        """Return the slot of exactly this model."""
        return self._slots.of(ref) if self._key.allows(ref.name) else None

    def matching(self, name: str, library: Library | None, pretrained: str | None) -> list[Slot]:
        """Return the slots that match the fields of a request."""
        return self._slots.matching(name, library, pretrained) if self._key.allows(name) else []


class PermittedModels(Models):
    """The models that a key may use, for the inference plane. Methods raise PermissionDeniedError for any other."""

    def __init__(self, models: Models, key: NamedKey) -> None:
        super().__init__()
        self.slots = PermittedSlots(models.slots, key)
        self.aliases = {alias: name for alias, name in models.aliases.items() if key.allows(name)}
        self.loads_on_demand = models.loads_on_demand
        self._models = models
        self._key = key

    def _check(self, name: str) -> None:
        self._key.check_model(self._models.own_name(name), told=name)

    def get(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return a ready model."""
        self._check(name)
        try:
            return self._models.get(name, library=library, pretrained=pretrained)
        except ModelNotLoadedError:
            # The error may name a similar model: of those that the key may use.
            self.slots.one(self._models.meant(name), library, pretrained)
            raise

    async def demand(self, name: str, library: Library | None, pretrained: str | None) -> None:
        """Wait until a model of the repository is loaded."""
        self._check(name)
        await self._models.demand(name, library, pretrained)

    def keep_alive(self, name: str, seconds: float) -> None:
        """Keep a loaded model for so many seconds after its last request."""
        self._check(name)
        self._models.keep_alive(name, seconds)

    def status(self, name: str, library: Library | None, pretrained: str | None) -> ModelStatus:
        """Return the status of the model that matches the fields of a request."""
        self._check(name)
        return self._models.status(name, library, pretrained)

    def _status(self, slot: Slot) -> ModelStatus:
        return self._models._status(slot)

    async def refresh(self) -> bool:
        """Read the list of models again if another server changed it; return True if it changed."""
        return await self._models.refresh()

    def suspect(self) -> None:
        """Have the models compared with the engine."""
        self._models.suspect()

    def engine_is_away(self) -> None:
        """Note that the engine does not answer."""
        self._models.engine_is_away()


class PermittedRegistry(PermittedModels):
    """The same with what the model plane does; takes the place of a ``Registry`` in the services of handlers."""

    def __init__(self, registry: Registry, key: NamedKey) -> None:
        super().__init__(registry, key)
        self._registry = registry

    @property
    def place(self) -> TuningMachine:
        """This machine, for tunings."""
        return self._registry.place

    async def load(self, ref: ModelRef) -> bool:
        """Load a model; as ``Registry.load``."""
        self._key.check_model(ref.name)
        return await self._registry.load(ref)

    async def unload(self, name: str, **which: Any) -> None:
        """Unload a model; as ``Registry.unload``."""
        self._key.check_model(name)
        await self._registry.unload(name, **which)

    async def delete(self, name: str, **which: Any) -> None:
        """Delete a model; as ``Registry.delete``."""
        self._key.check_model(name)
        await self._registry.delete(name, **which)

    async def tune(self, name: str, **which: Any) -> Manifest:
        """Tune a model; as ``Registry.tune``."""
        self._key.check_model(name)
        return await self._registry.tune(name, **which)

    async def reset_tuning(self, name: str, **which: Any) -> bool:
        """Remove a model's tunings; as ``Registry.reset_tuning``."""
        self._key.check_model(name)
        return await self._registry.reset_tuning(name, **which)

    async def manifest(self, name: str, **which: Any) -> Manifest:
        """Return the manifest of a stored model; as ``Registry.manifest``."""
        self._key.check_model(name)
        return await self._registry.manifest(name, **which)

    async def repository_statuses(self) -> list[ModelStatus]:
        """Return all models of the repository that the key may use."""
        return [one for one in await self._registry.repository_statuses() if self._key.allows(one.name)]


class PermittedDownloads:
    """The downloads of models that a key may use; takes the place of ``Downloads`` in the services of handlers."""

    def __init__(self, downloads: Downloads, key: NamedKey) -> None:
        self._downloads = downloads
        self._key = key

    def in_progress(self) -> list[Download]:
        """Return the downloads in progress."""
        return [one for one in self._downloads.in_progress() if self._key.allows(one.request.name)]

    async def download(self, request: DownloadCustomModelRequest) -> None:
        """Download a model; as ``Downloads.download``."""
        self._key.check_model(request.name)
        await self._downloads.download(request)


class PermittedOperations:
    """The loads of models that a key may use; takes the place of ``Operations`` in the services of handlers."""

    def __init__(self, operations: Operations, key: NamedKey) -> None:
        self._operations = operations
        self._key = key

    def start(self, ref: ModelRef, key: NamedKey | None) -> Operation:
        """Start to load a model; as ``Operations.start``."""
        self._key.check_model(ref.name)
        return self._operations.start(ref, key)

    def get(self, operation_id: str) -> Operation:
        """Return an operation; as ``Operations.get``. One of another model is not found."""
        operation = self._operations.get(operation_id)
        if not self._key.allows(operation.ref.name):
            raise no_operation(operation_id)
        return operation

    def all(self) -> list[Operation]:
        """Return the operations, the last one first."""
        return [operation for operation in self._operations.all() if self._key.allows(operation.ref.name)]

    async def cancel(self, operation_id: str) -> Operation:
        """Stop a load; as ``Operations.cancel``."""
        return await self._operations.cancel(self.get(operation_id).id)
