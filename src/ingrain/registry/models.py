"""What requests ask of a registry, whoever owns it."""

from __future__ import annotations

from typing import Any, Protocol

from ingrain.batching.batcher import Batcher
from ingrain.models.loaded import LoadedModel
from ingrain.registry.table import ModelStatus
from ingrain.vocabulary import Library


class Models(Protocol):
    """Knows which models can be inferred."""

    def get(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return a model that can be inferred now.

        Raises:
            ModelNotLoadedError: Nobody asked for it to be loaded.
            ModelLoadingError: It is on its way, or the engine is; try again later.
            ModelConflictError: Several loaded models have this name; ``pretrained`` or ``library`` decides.
        """
        ...

    async def refresh(self) -> bool:
        """Follow what another server changed in the list of models; tell whether it changed."""
        ...

    def suspect(self) -> None:
        """Have the models compared with the engine: a call has just found one missing."""

    def loaded(self) -> list[LoadedModel]:
        """Return the models that can be inferred now."""
        ...

    def statuses(self) -> list[ModelStatus]:
        """Return the models that should be loaded, ready or not."""
        ...

    def user_names(self) -> dict[str, str]:
        """Return what the user calls each graph."""
        ...

    def queues(self) -> list[tuple[str, Batcher[Any]]]:
        """Return every queue of the loaded models, by the user's name of its graph."""
        ...
