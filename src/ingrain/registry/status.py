"""Status of a model in the lists of models: name, state and the reason if it is not ready."""

from __future__ import annotations

from dataclasses import dataclass

from ingrain.registry.slots import Slot, State
from ingrain.vocabulary import Library, Precision, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """Status of one model.

    ``reason`` says why the model is not ready, why its precision could not be changed, or that it is being tuned.
    ``tasks`` are all that it serves, as far as that is known. ``memory_bytes`` is what it takes while it is loaded.
    """

    name: str
    library: Library | None
    state: State
    pretrained: str | None = None
    precision: Precision = "fp32"
    task: Task = "embed"
    tasks: tuple[Task, ...] = ()
    reason: str | None = None
    memory_bytes: int | None = None
    is_pinned: bool = False
    is_resting: bool = False


def status_of(slot: Slot) -> ModelStatus:
    """Return the status of a model that should be loaded."""
    reason = slot.error.message if slot.error is not None else None
    if slot.state == "LOADING" or (slot.progress is not None and slot.progress.phase == "tune"):
        reason = slot.describe_progress()
    return ModelStatus(
        name=slot.ref.name,
        library=slot.ref.library,
        state=slot.state,
        pretrained=slot.ref.pretrained,
        precision=slot.model.manifest.precision if slot.model is not None else slot.ref.precision or "fp32",
        task=slot.model.manifest.task if slot.model is not None else slot.ref.task or "embed",
        tasks=slot.model.manifest.tasks if slot.model is not None else (),
        reason=reason,
        memory_bytes=slot.memory_bytes,
        is_resting=slot.is_resting,
    )
