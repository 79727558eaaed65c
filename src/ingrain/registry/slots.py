"""The table of models that should be loaded, with lookup by key and by name."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ingrain.errors import (
    EngineUnavailableError,
    IngrainError,
    ModelConflictError,
    ModelLoadingError,
    ModelNotLoadedError,
)
from ingrain.models.loaded import LoadedModel
from ingrain.progress import Progress
from ingrain.repository.custom import CustomSource
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.tuning import Execution
from ingrain.vocabulary import Library, Role

State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
"""State of a model, in Triton's terms."""

RETRY_AFTER_S = 2.0


@dataclass(slots=True, eq=False)
class Slot:
    """A model that should be loaded, with its state.

    Attributes:
        ref: The reference that is being loaded, or that was loaded last.
        key: The model's key in the repository.
        number: Unique number, replaced whenever the slot gets other graphs, so that worker processes can tell a model
            from its replacement.
        pinned: True if the slot stays listed when loading fails, and loading is retried.
        state: State of the model.
        model: The opened model; kept while the engine cannot be reached.
        task: The load or tuning in progress, or the last one; there is never more than one.
        error: Why the model is not ready, or why it could not be replaced by another precision.
        progress: Progress of an export or a tuning.
        executions: Execution of each graph, once known.
        is_displaced: True while graphs may be loaded in a layout that a tuning tried.
        is_awaited: True while ``/ready`` waits for the model: from the start of the server, or from a restart of the
            engine, until the model serves or a load has failed.
        stamp: ``Repository.stamp`` of the model when it was loaded, or when loading failed.
        retries: Failed attempts since the model was last ready.
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
    is_awaited: bool = False
    stamp: tuple[tuple[int, ...], ...] = ()
    retries: int = 0
    retry_at: float = math.inf

    @property
    def task_is_done(self) -> bool:
        """Whether neither a load nor a tuning is in progress."""
        return self.task is None or self.task.done()

    @property
    def lacks_engine(self) -> bool:
        """Whether the model could not be loaded because the engine did not answer."""
        return self.state == "UNAVAILABLE" and isinstance(self.error, EngineUnavailableError)

    def describe_progress(self) -> str:
        """Return the progress of a load or a tuning, as the end of a sentence."""
        if self.progress is None:
            return "it is being loaded."
        phase, done, total = self.progress.phase, self.progress.done, self.progress.total
        share = f" ({100 * done // total} %)" if total else ""
        if phase == "tune":
            return f"it is being tuned{share}."
        amount = f", {done / 1e6:.1f} of {total / 1e6:.1f} MB" if total and self.progress.unit == "bytes" else ""
        return f"it is being loaded, phase {phase}{amount}{share}."


class SlotTable:
    """Finds slots by key, and by name with optional library and weight tag.

    Attributes:
        is_started: True once the table has all models that should be loaded; until then nothing is served.
    """

    def __init__(self) -> None:
        self.is_started = False
        self._by_key: dict[str, Slot] = {}
        self._by_name: dict[str, list[Slot]] = {}
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, slot: Slot) -> bool:
        return self._by_key.get(slot.key) is slot

    def of(self, ref: ModelRef) -> Slot | None:
        """Return the slot of exactly this model."""
        return self._by_key.get(ref.key)

    def add(self, ref: ModelRef, *, pinned: bool, number: int | None = None) -> Slot:
        """Create a slot for a model that has none; ``number`` is a new one unless given."""
        slot = Slot(ref=ref, key=ref.key, number=next(self._numbers) if number is None else number, pinned=pinned)
        self._by_key[slot.key] = slot
        self._by_name.setdefault(ref.name, []).append(slot)
        return slot

    def renumber(self, slot: Slot) -> None:
        """Give a slot a new number, because it gets another model."""
        slot.number = next(self._numbers)

    def remove(self, slot: Slot, error: IngrainError) -> None:
        """Remove a slot from the table, if it is there, and fail the waiting requests of its model."""
        if slot in self:
            del self._by_key[slot.key]
            self._by_name[slot.ref.name].remove(slot)
            if not self._by_name[slot.ref.name]:
                del self._by_name[slot.ref.name]
        if slot.model is not None:
            slot.model.close(error)
            slot.model = None

    def await_engine(self) -> None:
        """Have ``/ready`` wait for the models that the engine must load again, because it does not answer."""
        for slot in self:
            if slot.state == "READY" or slot.lacks_engine:
                slot.is_awaited = True

    def matching(self, name: str, library: Library | None, pretrained: str | None) -> list[Slot]:
        """Return the slots that match the fields of a request."""
        slots = self._by_name.get(name, [])
        if library is None and pretrained is None:
            return slots
        return [slot for slot in slots if is_meant(slot.ref, name, library, pretrained)]

    def one(self, name: str, library: Library | None, pretrained: str | None) -> Slot:
        """Return the only slot that matches the fields of a request.

        Raises:
            ModelNotLoadedError: No slot matches.
            ModelConflictError: Several slots match.
        """
        slots = self.matching(name, library, pretrained)
        if not slots:
            raise not_loaded(name)
        if len(slots) > 1:
            raise ambiguous(name)
        return slots[0]


def is_meant(
    model: ModelRef | Manifest | CustomSource, name: str, library: Library | None, pretrained: str | None
) -> bool:
    """Return True if a model has the name and, where given, the library and weight tag."""
    return model.name == name and library in (None, model.library) and pretrained in (None, model.pretrained)


def not_loaded(name: str) -> ModelNotLoadedError:
    """Return the error for a model that is not in the table."""
    return ModelNotLoadedError(
        f"Model {name!r} is not loaded. Load it with POST /load_model on the model plane, or `ingrain load`.",
        param="name",
        facts={"model": name},
    )


def starting() -> ModelLoadingError:
    """Return the error for any model while the server does not know yet which models should be loaded."""
    return ModelLoadingError("The server is being started.", param="name", retry_after_s=RETRY_AFTER_S)


def not_ready(slot: Slot) -> ModelLoadingError:
    """Return the error for a model that should be loaded, but is not ready."""
    failed = slot.error if slot.state == "UNAVAILABLE" else None
    why = failed.message if failed is not None else slot.describe_progress()
    return ModelLoadingError(f"Model {slot.ref.name!r} is not ready: {why}", param="name", retry_after_s=RETRY_AFTER_S)


def ambiguous(name: str) -> ModelConflictError:
    """Return the error for a name that several models have."""
    return ModelConflictError(
        f"Several models are called {name!r}. Say which one with `pretrained` or `library`.", param="name"
    )
