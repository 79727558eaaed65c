"""The interface of a registry for serving requests, for the owner's registry and for followers."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ingrain.batching.batcher import Batcher
from ingrain.errors import IngrainError, QueueFullError
from ingrain.models.loaded import LoadedModel
from ingrain.registry.slots import RETRY_AFTER_S, Slot, SlotTable, not_loaded, not_ready, resting, starting
from ingrain.registry.status import ModelStatus, status_of
from ingrain.vocabulary import Library

_MOST_WAITING = 1024  # requests of a process that wait for models
_LATEST = ":latest"  # what Ollama's clients write behind a name that has no tag


class Models(ABC):
    """The models of a process, and which of them are ready.

    Attributes:
        slots: The models that should be loaded.
        aliases: Further names of models in requests: the model's name by alias.
        loads_on_demand: Whether a request loads a model of the repository.
    """

    def __init__(self) -> None:
        self.slots = SlotTable()
        self.aliases: Mapping[str, str] = {}
        self.loads_on_demand = False
        self._waiting = 0

    def get(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return a ready model.

        Raises:
            ModelNotLoadedError: The model is not loaded; with ``loads_on_demand`` ``demand`` may load it.
            ModelLoadingError: The model or the engine is not ready yet; try again later.
            ModelConflictError: Several loaded models have this name; ``pretrained`` or ``library`` decides.
        """
        if not self.slots.is_started:
            raise starting()
        slot = self.slots.one(self.meant(name), library, pretrained)
        if slot.model is None or slot.state != "READY":
            raise self._not_ready(slot)
        slot.used_at = time.monotonic()
        return slot.model

    def _not_ready(self, slot: Slot) -> IngrainError:
        if slot.is_resting and slot.error is not None:
            return resting(slot, slot.error.message)
        return not_loaded(slot.ref.name) if self.loads_on_demand and slot.is_coming else not_ready(slot)

    async def demand(self, name: str, library: Library | None, pretrained: str | None) -> None:
        """Wait until a model of the repository is loaded, because a request needs it.

        Raises:
            QueueFullError: Too many requests wait for models.
            ModelNotLoadedError: The repository has no such model.
            ModelLoadingError: It could not be loaded, or is being converted.
        """
        if self._waiting >= _MOST_WAITING:
            raise QueueFullError(
                f"{_MOST_WAITING} requests wait for models that are being loaded; try again later.",
                retry_after_s=RETRY_AFTER_S,
            )
        self._waiting += 1
        try:
            await self._demand(name, library, pretrained)
        finally:
            self._waiting -= 1

    async def _demand(self, name: str, library: Library | None, pretrained: str | None) -> None:
        """See ``demand``; by default the process has no further models."""
        del library, pretrained
        raise not_loaded(name)

    def keep_alive(self, name: str, seconds: float) -> None:
        """Keep a loaded model for so many seconds after its last request; negative for ever, 0 to unload it soon.

        Without ``loads_on_demand`` nothing changes: no later request could load the model again.
        """
        if self.loads_on_demand:
            for slot in self.slots.matching(self.meant(name), None, None):
                slot.keep_alive_s = seconds
                self._kept_alive(slot)

    def _kept_alive(self, slot: Slot) -> None:
        """Apply the new ``keep_alive_s`` of a slot; by default nothing is to be done."""
        del slot

    def moves(self) -> dict[str, int]:
        """Return how often models were loaded or unloaded without a command, by reason, if this process does that."""
        return {}

    def loaded(self) -> list[LoadedModel]:
        """Return the ready models."""
        return [slot.model for slot in self.slots if slot.model is not None and slot.state == "READY"]

    def loaded_by_alias(self) -> dict[str, LoadedModel]:
        """Return the ready model of each alias that names exactly one."""
        found = {}
        for alias in self.aliases:
            slots = self.slots.matching(self.meant(alias), None, None)
            if len(slots) == 1 and slots[0].model is not None and slots[0].state == "READY":
                found[alias] = slots[0].model
        return found

    def statuses(self) -> list[ModelStatus]:
        """Return the models that should be loaded, ready or not."""
        return [self._status(slot) for slot in self.slots]

    def _status(self, slot: Slot) -> ModelStatus:
        return status_of(slot)

    def awaited(self) -> list[str]:
        """Return a sentence for each model for which ``/ready`` waits."""
        return [f"Model {slot.ref.name!r}: {slot.describe_progress()}" for slot in self.slots if slot.is_awaited]

    def engine_is_away(self) -> None:
        """Note that the engine does not answer: ``/ready`` then waits until the engine has the models again."""
        self.slots.await_engine()
        self.suspect()

    def status(self, name: str, library: Library | None, pretrained: str | None) -> ModelStatus:
        """Return the status of the model that matches the fields of a request.

        Raises:
            ModelNotLoadedError: No model that should be loaded matches.
            ModelConflictError: Several match.
        """
        return self._status(self.slots.one(self.meant(name), library, pretrained))

    def unaliased(self, name: str) -> str | None:
        """Return the name of an alias' model, for the alias with or without ``:latest``; None for any other name."""
        short = name.removesuffix(_LATEST)
        return next((self.aliases[one] for one in (name, short, short + _LATEST) if one in self.aliases), None)

    def meant(self, name: str) -> str:
        """Return the name of the model that a request means; one that has the name itself comes before an alias."""
        short = name.removesuffix(_LATEST)
        for own in (name, short):
            if self.slots.matching(own, None, None):
                return own
        return self.unaliased(name) or name

    def own_name(self, name: str) -> str:
        """Return the name that the model that a request means has, or would have in the repository.

        Models that are not loaded are looked for without Ollama's tag ``:latest``.
        """
        meant = self.meant(name)
        return meant if self.slots.matching(meant, None, None) else meant.removesuffix(_LATEST)

    def user_names(self) -> dict[str, str]:
        """Return the user's name of each graph: the model's name, plus the role if a model has several graphs."""
        names = {}
        for slot in self.slots:
            if slot.model is not None:
                graphs = slot.model.manifest.graphs
                alone = len(self.slots.matching(slot.ref.name, None, None)) == 1
                name = slot.ref.name if alone else f"{slot.ref.name}@{slot.ref.pretrained or slot.ref.library}"
                for graph in graphs:
                    names[graph.name] = name if len(graphs) == 1 else f"{name}/{graph.role}"
        return names

    def queues(self) -> list[tuple[str, Batcher[Any]]]:
        """Return every queue of the loaded models, by the user's name of its graph."""
        names = self.user_names()
        return [
            (names[graph.name], slot.model.queues[graph.role])
            for slot in self.slots
            if slot.model is not None
            for graph in slot.model.manifest.graphs
            if graph.role in slot.model.queues
        ]

    def load_seconds(self) -> dict[str, float]:
        """Return the seconds that the last load of each model took, by its name, as far as this process knows."""
        return {slot.ref.name: slot.load_s for slot in self.slots if slot.load_s is not None}

    def queues_of_models(self) -> list[tuple[str, list[Batcher[Any]]]]:
        """Return the queues of each loaded model, by the model's name."""
        return [(slot.ref.name, list(slot.model.queues.values())) for slot in self.slots if slot.model is not None]

    @abstractmethod
    async def refresh(self) -> bool:
        """Read the list of models again if another server changed it; return True if it changed."""

    @abstractmethod
    def suspect(self) -> None:
        """Have the models compared with the engine, because a call has found one missing."""
