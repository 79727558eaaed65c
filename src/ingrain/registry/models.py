"""What the request path sees of a registry, whether it loads models or follows one that does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ingrain.batching.batcher import Batcher
from ingrain.models.loaded import LoadedModel
from ingrain.registry.status import ModelStatus, status_of
from ingrain.registry.table import SlotTable
from ingrain.vocabulary import Library


class Models(ABC):
    """Knows which models can be inferred.

    Attributes:
        slots: The models that should be loaded.
    """

    def __init__(self) -> None:
        self.slots = SlotTable()

    def get(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return a model that can be inferred now.

        Raises:
            ModelNotLoadedError: Nobody asked for it to be loaded.
            ModelLoadingError: It, or the engine, is not ready yet; try again later.
            ModelConflictError: Several loaded models have this name; ``pretrained`` or ``library`` decides.
        """
        return self.slots.model(name, library, pretrained)

    def loaded(self) -> list[LoadedModel]:
        """Return the models that can be inferred now."""
        return self.slots.loaded()

    def statuses(self) -> list[ModelStatus]:
        """Return the models that should be loaded, ready or not."""
        return [status_of(slot) for slot in self.slots]

    def user_names(self) -> dict[str, str]:
        """Return the user's name of each graph: the model's name, with the role where a model has several graphs."""
        return self.slots.user_names()

    def queues(self) -> list[tuple[str, Batcher[Any]]]:
        """Return every queue of the loaded models, by the user's name of its graph."""
        return self.slots.queues()

    @abstractmethod
    async def refresh(self) -> bool:
        """Read the list of models again if another server has changed it; return whether it had."""

    @abstractmethod
    def suspect(self) -> None:
        """Have the models compared with the engine: a call has just found one missing."""
