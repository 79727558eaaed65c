"""The state of a registry as it is sent to worker processes."""

from __future__ import annotations

import msgspec

from ingrain.progress import Progress
from ingrain.registry.slots import SlotTable, State
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.tuning import Execution
from ingrain.vocabulary import Role


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """One model that should be loaded.

    Attributes:
        number: Number of the slot; a new number means that the model was unloaded or replaced.
        ref: The reference that is being loaded, or that was loaded last.
        state: State of the model.
        is_open: True once the owner has loaded the graphs and opened the side files, so that workers may open them.
        is_awaited: True while ``/ready`` waits for the model.
        error: Why the model is not ready, as a sentence.
        progress: Progress of an export or a tuning.
        executions: Execution of each graph, by role.
        is_resting: True while the model is not loaded until a request or a command loads it.
        memory_bytes: Memory that the model takes.
    """

    number: int
    ref: ModelRef
    state: State
    is_open: bool
    is_awaited: bool = False
    error: str | None = None
    progress: Progress | None = None
    executions: dict[Role, Execution] = {}
    is_resting: bool = False
    memory_bytes: int | None = None


class RegistryView(msgspec.Struct, frozen=True, kw_only=True):
    """All models that should be loaded; ``is_started`` is false until the owner knows all of them."""

    is_started: bool
    models: tuple[ModelView, ...] = ()


def view_of(slots: SlotTable) -> RegistryView:
    """Return a snapshot of the slots."""
    return RegistryView(
        is_started=slots.is_started,
        models=tuple(
            ModelView(
                number=slot.number,
                ref=slot.ref,
                state=slot.state,
                is_open=slot.model is not None and slot.state != "UNLOADING",
                is_awaited=slot.is_awaited,
                error=slot.error.message if slot.error is not None else None,
                progress=slot.progress,
                executions=slot.executions,
                is_resting=slot.is_resting,
                memory_bytes=slot.memory_bytes,
            )
            for slot in slots
        ),
    )
