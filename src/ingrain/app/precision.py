"""Decides which precisions the server can serve, given the device on which graphs run."""

from __future__ import annotations

from ingrain.engine.placement import Placement
from ingrain.errors import SettingsError
from ingrain.libraries import LIBRARIES
from ingrain.repository.models_to_load import ModelRef
from ingrain.settings import Settings
from ingrain.vocabulary import Library, Precision


def why_not(placement: Placement, precision: Precision | None, library: Library | None = None) -> str | None:
    """Return why this server cannot serve a precision, as the end of a sentence; None if it can.

    Args:
        placement: Where graphs run.
        precision: The precision, None if the request has none.
        library: Source library of the model, None for any.
    """
    if precision == "fp16" and not placement.on_a_gpu:
        if not placement.on_this_machine:
            return (
                f"which needs a GPU, but graphs may run on the CPU (INSTANCE_KIND is {placement.instance_kind}). "
                "Set INSTANCE_KIND to KIND_GPU if Triton has a GPU; on a CPU use int8, int8-safe or fp32."
            )
        reason = placement.gpu_problem or f"INSTANCE_KIND is {placement.instance_kind}"
        return f"which needs a GPU, but graphs run on the CPU: {reason}. On a CPU use int8, int8-safe or fp32."
    if precision in ("int8", "int8-safe"):
        if placement.on_a_gpu:
            return "which is for CPUs, but graphs run on the GPU. Use fp16 or fp32, or set INSTANCE_KIND to KIND_CPU."
        if library is not None and precision not in LIBRARIES[library].precisions:
            return f"which is for text encoders only, but models of {library} take images. Use fp32."
    return None


def check_precisions(settings: Settings, placement: Placement, models: list[ModelRef]) -> None:
    """Check that the server can serve the precisions in the settings.

    Raises:
        SettingsError: INGRAIN_PRECISION or an entry of INGRAIN_MODELS has a precision that it cannot serve.
    """
    if reason := why_not(placement, settings.precision):
        raise SettingsError(f"INGRAIN_PRECISION is {settings.precision!r}, {reason}", param="INGRAIN_PRECISION")
    for ref in models:
        if reason := why_not(placement, ref.precision, ref.library):
            raise SettingsError(
                f"INGRAIN_MODELS asks for {ref.name!r} in {ref.precision!r}, {reason}", param="INGRAIN_MODELS"
            )
