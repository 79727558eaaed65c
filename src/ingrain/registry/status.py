"""The lines of lists of models: name, state and the reason why a model is not ready."""

from __future__ import annotations

from dataclasses import dataclass

from ingrain.registry.slots import Slot, State
from ingrain.vocabulary import Library, Precision


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
        reason=reason,
    )
