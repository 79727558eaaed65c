"""The models that should be loaded, by key and by the name that requests use."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from ingrain.batching.batcher import Batcher
from ingrain.errors import (
    EngineUnavailableError,
    IngrainError,
    ModelConflictError,
    ModelLoadingError,
    ModelNotLoadedError,
)
from ingrain.export.process.job import Progress
from ingrain.models.loaded import LoadedModel
from ingrain.repository.desired import ModelRef
from ingrain.repository.names import model_key
from ingrain.repository.tuning import Execution
from ingrain.vocabulary import Library, Precision, Role

State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
"""Triton's words for the state of a model."""

_LOADING_RETRY_AFTER_S = 2.0


@dataclass(slots=True, eq=False)
class Slot:
    """A model that should be loaded, and how far it is.

    Attributes:
        ref: What was asked for.
        key: The model's key in the repository.
        number: Different for each slot and each graph it was given, so that a model which was unloaded and loaded
            again, or replaced, is told apart.
        pinned: True if it stays listed when loading fails, and is tried again.
        state: Triton's word.
        model: What requests use; kept while the engine is away.
        task: The loading in progress, or the last one.
        error: Why it is not ready, or why it could not be replaced by another precision.
        progress: How far an export, or a tuning, is.
        executions: How its graphs are executed, once that is known.
        is_displaced: True while its graphs may be loaded in another layout than that.
        retries: Failed attempts since it was last ready.
        retry_at: Event-loop time of the next attempt.
    """

    ref: ModelRef
    key: str
    number: int = 0
    pinned: bool = False
    state: State = "LOADING"
    model: LoadedModel | None = None
    task: asyncio.Task[None] | None = None
    error: IngrainError | None = None
    progress: Progress | None = None
    executions: dict[Role, Execution] = field(default_factory=dict)
    is_displaced: bool = False
    retries: int = 0
    retry_at: float = math.inf

    @property
    def task_is_done(self) -> bool:
        """Whether no loading is in progress."""
        return self.task is None or self.task.done()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One line of a list of models.

    ``reason`` says why a model is not ready, why it was not made in another precision, or that it is being tuned.
    """

    name: str
    library: Library | None
    state: State
    pretrained: str | None = None
    precision: Precision = "fp32"
    reason: str | None = None


class SlotTable:
    """Finds slots by key, and by name with optional library and tag."""

    def __init__(self) -> None:
        self._by_key: dict[str, Slot] = {}
        self._by_name: dict[str, list[Slot]] = {}
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, ref: ModelRef) -> Slot | None:
        """Return the slot of exactly this model."""
        return self._by_key.get(key_of(ref))

    def add(self, ref: ModelRef, *, pinned: bool, number: int | None = None) -> Slot:
        """Make a slot for a model that has none; ``number`` is a new one unless it is given."""
        slot = Slot(ref=ref, key=key_of(ref), number=next(self._numbers) if number is None else number, pinned=pinned)
        self._by_key[slot.key] = slot
        self._by_name.setdefault(ref.name, []).append(slot)
        return slot

    def renumber(self, slot: Slot) -> None:
        """Give a slot a new number, for what it will hold is another model."""
        slot.number = next(self._numbers)

    def remove(self, slot: Slot) -> None:
        """Forget a slot; nothing happens if it is forgotten already."""
        if self._by_key.get(slot.key) is slot:
            del self._by_key[slot.key]
            self._by_name[slot.ref.name].remove(slot)
            if not self._by_name[slot.ref.name]:
                del self._by_name[slot.ref.name]

    def matching(self, name: str, library: Library | None, pretrained: str | None) -> list[Slot]:
        """Return the slots that a request may mean."""
        slots = self._by_name.get(name, [])
        if library is None and pretrained is None:
            return slots
        return [s for s in slots if library in (None, s.ref.library) and pretrained in (None, s.ref.pretrained)]

    def one(self, name: str, library: Library | None, pretrained: str | None) -> Slot:
        """Return the slot that a request means.

        Raises:
            ModelNotLoadedError: There is none.
            ModelConflictError: There are several.
        """
        slots = self.matching(name, library, pretrained)
        if not slots:
            raise not_loaded(name)
        if len(slots) > 1:
            raise ambiguous(name)
        return slots[0]

    def loaded(self) -> list[LoadedModel]:
        """Return the models that can be inferred now."""
        return [slot.model for slot in self if slot.model is not None and slot.state == "READY"]

    def user_names(self) -> dict[str, str]:
        """Return what the user calls each graph: the model's name, with the tower where a model has several."""
        names = {}
        for slot in self:
            if slot.model is not None:
                graphs = slot.model.manifest.graphs
                alone = len(self.matching(slot.ref.name, None, None)) == 1
                name = slot.ref.name if alone else f"{slot.ref.name}@{slot.ref.pretrained or slot.ref.library}"
                for graph in graphs:
                    names[graph.name] = name if len(graphs) == 1 else f"{name}/{graph.role}"
        return names

    def queues(self) -> list[tuple[str, Batcher[Any]]]:
        """Return every queue of the loaded models, by the user's name of its graph."""
        found: list[tuple[str, Batcher[Any]]] = []
        names = self.user_names()
        for slot in self:
            if slot.model is not None:
                by_role = {
                    "text_encoder": slot.model.text_queue,
                    "image_encoder": slot.model.image_queue,
                    "classifier": slot.model.classifier_queue,
                }
                for graph in slot.model.manifest.graphs:
                    queue = by_role[graph.role]
                    if queue is not None:
                        found.append((names[graph.name], queue))
        return found


def key_of(ref: ModelRef) -> str:
    """Return the repository key of a model."""
    return model_key(ref.name, ref.library, ref.pretrained)


def status_of(slot: Slot) -> ModelStatus:
    """Return what a list of models says of a slot."""
    reason = slot.error.message if slot.error is not None else None
    if slot.state == "LOADING" or (slot.progress is not None and slot.progress.phase == "tune"):
        reason = _describe(slot.progress)
    return ModelStatus(
        name=slot.ref.name,
        library=slot.ref.library,
        state=slot.state,
        pretrained=slot.ref.pretrained,
        precision=slot.model.manifest.precision if slot.model is not None else slot.ref.precision or "fp32",
        reason=reason,
    )


def not_loaded(name: str) -> ModelNotLoadedError:
    """Return the error for a model that nobody asked to be loaded."""
    return ModelNotLoadedError(
        f"Model {name!r} is not loaded. Load it with POST /load_model on the model plane.", param="name"
    )


def shutting_down() -> EngineUnavailableError:
    """Return the error for whoever waited for what the server ends because it stops."""
    return EngineUnavailableError("The server is shutting down.", retry_after_s=5)


def not_ready(slot: Slot) -> IngrainError:
    """Return the error for a model that should be loaded, but cannot be inferred now."""
    failed = slot.error if slot.state == "UNAVAILABLE" else None
    why = failed.message if failed is not None else _describe(slot.progress)
    return ModelLoadingError(
        f"Model {slot.ref.name!r} is not ready: {why}", param="name", retry_after_s=_LOADING_RETRY_AFTER_S
    )


def ambiguous(name: str) -> ModelConflictError:
    """Return the error for a name that several models have."""
    return ModelConflictError(
        f"Several models are called {name!r}. Say which one with `pretrained` or `library`.", param="name"
    )


def _describe(progress: Progress | None) -> str:
    if progress is None:
        return "it is being loaded."
    share = f" ({100 * progress.done // progress.total} %)" if progress.total else ""
    if progress.phase == "tune":
        return f"it is being tuned{share}."
    return f"it is being loaded, phase {progress.phase}{share}."
