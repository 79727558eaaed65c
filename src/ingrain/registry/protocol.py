"""The interface of a registry for serving requests, for the owner's registry and for followers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ingrain.batching.batcher import Batcher
from ingrain.models.loaded import LoadedModel
from ingrain.registry.slots import Slot, SlotTable, not_ready, starting
from ingrain.registry.status import ModelStatus, status_of
from ingrain.vocabulary import Library

_LATEST = ":latest"  # what Ollama's clients write behind a name that has no tag


class Models(ABC):
    """The models of a process, and which of them are ready.

    Attributes:
        slots: The models that should be loaded.
        aliases: Further names of models in requests: the model's name by alias.
    """

    def __init__(self) -> None:
        self.slots = SlotTable()
        self.aliases: Mapping[str, str] = {}

    def get(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return a ready model.

        Raises:
            ModelNotLoadedError: The model is not loaded.
            ModelLoadingError: The model or the engine is not ready yet; try again later.
            ModelConflictError: Several loaded models have this name; ``pretrained`` or ``library`` decides.
        """
        if not self.slots.is_started:
            raise starting()
        slot = self.slots.one(self._meant(name), library, pretrained)
        if slot.model is None or slot.state != "READY":
            raise not_ready(slot)
        return slot.model

    def loaded(self) -> list[LoadedModel]:
        """Return the ready models."""
        return [slot.model for slot in self.slots if slot.model is not None and slot.state == "READY"]

    def loaded_by_alias(self) -> dict[str, LoadedModel]:
        """Return the ready model of each alias that names exactly one."""
        found = {}
        for alias in self.aliases:
            slots = self.slots.matching(self._meant(alias), None, None)
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
        return self._status(self.slots.one(self._meant(name), library, pretrained))

    def unaliased(self, name: str) -> str | None:
        """Return the name of an alias' model, for the alias with or without ``:latest``; None for any other name."""
        short = name.removesuffix(_LATEST)
        return next((self.aliases[one] for one in (name, short, short + _LATEST) if one in self.aliases), None)

    def _meant(self, name: str) -> str:
        """Return the name of the model that a request means; one that has the name itself comes before an alias."""
        short = name.removesuffix(_LATEST)
        for own in (name, short):
            if self.slots.matching(own, None, None):
                return own
        return self.unaliased(name) or name

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

    @abstractmethod
    async def refresh(self) -> bool:
        """Read the list of models again if another server changed it; return True if it changed."""

    @abstractmethod
    def suspect(self) -> None:
        """Have the models compared with the engine, because a call has found one missing."""
