"""Which precisions this server can serve, by where its graphs run."""

from __future__ import annotations

from ingrain.engine.placement import Placement
from ingrain.errors import SettingsError
from ingrain.libraries import LIBRARIES
from ingrain.repository.models_to_load import ModelRef
from ingrain.settings import Settings
from ingrain.vocabulary import Library, Precision


def why_not(placement: Placement, precision: Precision | None, library: Library | None = None) -> str | None:
    """Return why a precision cannot be served here, as the end of a sentence; None if it can.

    Args:
        placement: Where graphs run.
        precision: The precision, if one was named.
        library: The source library of the model.
    """
    if precision == "fp16" and not placement.on_a_gpu:
        if not placement.on_this_machine:
            return (
                f"which needs a GPU, and graphs run on the CPU or may (INSTANCE_KIND is {placement.instance_kind}). "
                "Set INSTANCE_KIND to KIND_GPU where Triton has one; on a CPU use int8, int8-safe or fp32."
            )
        reason = placement.gpu_problem or f"INSTANCE_KIND is {placement.instance_kind}"
        return f"which needs a GPU, and graphs run on the CPU: {reason}. On a CPU use int8, int8-safe or fp32."
    if precision in ("int8", "int8-safe"):
        if placement.on_a_gpu:
            return "which is for CPUs, and graphs run on the GPU. Use fp16 or fp32, or set INSTANCE_KIND to KIND_CPU."
        if library is not None and precision not in LIBRARIES[library].precisions:
            return f"which is for text encoders, and {library}'s models take pictures. Use fp32."
    return None


def check_precisions(settings: Settings, placement: Placement, models: list[ModelRef]) -> None:
    """Refuse a precision in the settings that cannot be served.

    Raises:
        SettingsError: INGRAIN_PRECISION, or a model of INGRAIN_MODELS, names one.
    """
    if reason := why_not(placement, settings.precision):
        raise SettingsError(f"INGRAIN_PRECISION is {settings.precision!r}, {reason}", param="INGRAIN_PRECISION")
    for ref in models:
        if reason := why_not(placement, ref.precision, ref.library):
            raise SettingsError(
                f"INGRAIN_MODELS asks for {ref.name!r} in {ref.precision!r}, {reason}", param="INGRAIN_MODELS"
            )
