"""The table of models that should be loaded, with lookup by key and by name."""

from __future__ import annotations

import asyncio
import difflib
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
_LONGEST_LIKENED = 200  # characters of a name; finding one like it takes longer with its length


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """How a model was that is not loaded, for the case that the command which loads it is taken back."""

    ref: ModelRef
    error: IngrainError | None
    is_resting: bool
    is_on_demand: bool
    keep_alive_s: float | None


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
        is_resting: True while the model is not loaded, although it should be: it made room for another one, was idle,
            or does not fit. A request or a command loads it. Its state is then UNAVAILABLE.
        is_on_demand: True if a request loaded the model, and so it is not in the list of models.
        is_demanded: True if the load in progress, or the last one, was begun for a request.
        command: What a user's command asked for, if that began the load in progress, or the last one.
        before: How the model was before that command, if it was in the table and not loaded.
        may_evict: True if the load in progress may unload other models to make room.
        used_at: Time of the last request, by ``time.monotonic``, which processes of a machine share.
        keep_alive_s: Seconds after which the model is unloaded if it was not used, by the last request that said so;
            negative for never, None if none did.
        memory_bytes: Memory that the loaded model takes, as last measured or estimated.
        load_began: Time at which the last load began, by ``time.monotonic``.
        load_s: Seconds that the last load took, with download and conversion if there were any; None before it is done.
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
    is_resting: bool = False
    is_on_demand: bool = False
    is_demanded: bool = False
    command: ModelRef | None = None
    before: Before | None = None
    may_evict: bool = True
    used_at: float = 0.0
    keep_alive_s: float | None = None
    memory_bytes: int | None = None
    load_began: float = 0.0
    load_s: float | None = None

    @property
    def task_is_done(self) -> bool:
        """Whether neither a load nor a tuning is in progress."""
        return self.task is None or self.task.done()

    @property
    def is_coming(self) -> bool:
        """Whether the model will soon be loaded, or can be loaded again."""
        return self.state in ("LOADING", "UNLOADING") and self.progress is None

    @property
    def lacks_engine(self) -> bool:
        """Whether the model could not be loaded because the engine did not answer."""
        return self.state == "UNAVAILABLE" and isinstance(self.error, EngineUnavailableError)

    def take_command(self, ref: ModelRef) -> None:
        """Note what a user's command asks for, and how the model is before it."""
        is_new = self.task is None and not self.is_resting
        self.command, self.before = ref, None
        if self.model is None and not is_new:
            self.before = Before(
                ref=self.ref,
                error=self.error,
                is_resting=self.is_resting,
                is_on_demand=self.is_on_demand,
                keep_alive_s=self.keep_alive_s,
            )
        self.is_on_demand, self.keep_alive_s = False, None

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

    def rest(self, slot: Slot, error: IngrainError) -> None:
        """Keep a slot without its model, until a request or a command loads that again."""
        model, slot.model, slot.memory_bytes = slot.model, None, None
        slot.state, slot.is_resting, slot.is_awaited = "UNAVAILABLE", True, False
        slot.error, slot.progress, slot.retry_at = error, None, math.inf
        if model is not None:
            model.close(error)

    def await_engine(self) -> None:
        """Have ``/ready`` wait for the models that the engine must load again, because it does not answer."""
        for slot in self:
            # One that rests is not loaded again before a request needs it, and a server that is not ready gets none.
            if slot.state == "READY" or (slot.lacks_engine and not slot.is_resting):
                slot.is_awaited = True

    def matching(self, name: str, library: Library | None, pretrained: str | None) -> list[Slot]:
        """Return the slots that match the fields of a request."""
        slots = self._by_name.get(name, [])
        if library is None and pretrained is None:
            return slots
        return [slot for slot in slots if is_meant(slot.ref, name, library, pretrained)]

    def near(self, name: str) -> str | None:
        """Return the name of a model in the table that may be meant by a name that none has."""
        if len(name) > _LONGEST_LIKENED:
            return None
        names = dict.fromkeys(slot.ref.name for slot in self)
        last = _last_part(name)
        same = (one for one in names if _last_part(one) == last)
        return next(same, None) or next(iter(difflib.get_close_matches(name, names, n=1)), None)

    def one(self, name: str, library: Library | None, pretrained: str | None) -> Slot:
        """Return the only slot that matches the fields of a request.

        Raises:
            ModelNotLoadedError: No slot matches.
            ModelConflictError: Several slots match.
        """
        slots = self.matching(name, library, pretrained)
        if not slots:
            raise not_loaded(name, self.near(name))
        if len(slots) > 1:
            raise ambiguous(name)
        return slots[0]


def is_meant(
    model: ModelRef | Manifest | CustomSource, name: str, library: Library | None, pretrained: str | None
) -> bool:
    """Return True if a model has the name and, where given, the library and weight tag."""
    return model.name == name and library in (None, model.library) and pretrained in (None, model.pretrained)


def _last_part(name: str) -> str:
    """Return a name without the owner and in lower case, as people shorten names."""
    return name.lower().rpartition("/")[2]


def not_loaded(name: str, near: str | None = None) -> ModelNotLoadedError:
    """Return the error for a model that is not in the table; ``near`` is the name of one that is."""
    meant = f"Did you mean {near!r}? " if near else ""
    return ModelNotLoadedError(
        f"Model {name!r} is not loaded. {meant}Load it with POST /load_model on the model plane, or `ingrain load`.",
        param="name",
        facts={"model": name},
    )


def resting(slot: Slot, why: str) -> ModelNotLoadedError:
    """Return the error for a model that is not loaded until a request or a command loads it; ``why`` is a sentence."""
    return ModelNotLoadedError(why, param="name", facts={"model": slot.ref.name})


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
