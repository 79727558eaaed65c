"""Which precisions this server can serve, by where its graphs run."""

from __future__ import annotations

from ingrain.backend import cuda
from ingrain.engine.placement import engine_name, runs_on_a_gpu
from ingrain.errors import SettingsError
from ingrain.repository.desired import ModelRef
from ingrain.settings import Settings
from ingrain.vocabulary import Library, Precision


def why_not(precision: Precision | None, settings: Settings, library: Library | None = None) -> str | None:
    """Return why a precision cannot be served here, as the end of a sentence; None where it can.

    Args:
        precision: What was asked for, if anything.
        settings: Say where graphs run.
        library: Of the model that it was asked for.
    """
    on_gpu = runs_on_a_gpu(settings)
    if precision == "fp16" and not on_gpu:
        if engine_name(settings) == "triton":
            return (
                f"which needs a GPU, and graphs run on the CPU or may (INSTANCE_KIND is {settings.instance_kind}). Set "
                "INSTANCE_KIND to KIND_GPU where Triton has one; on a CPU use int8, int8-safe or fp32."
            )
        reason = cuda.why_unusable() or f"INSTANCE_KIND is {settings.instance_kind}"
        return f"which needs a GPU, and graphs run on the CPU: {reason}. On a CPU use int8, int8-safe or fp32."
    if precision in ("int8", "int8-safe"):
        if on_gpu:
            return "which is for CPUs, and graphs run on the GPU. Use fp16 or fp32, or set INSTANCE_KIND to KIND_CPU."
        if library == "timm":
            return "which is for text encoders, and timm's models take pictures. Use fp32."
    return None


def check_settings(settings: Settings, models: list[ModelRef]) -> None:
    """Refuse a precision in the settings that cannot be served.

    Raises:
        SettingsError: INGRAIN_PRECISION, or a model of INGRAIN_MODELS, names one.
    """
    if reason := why_not(settings.precision, settings):
        raise SettingsError(f"INGRAIN_PRECISION is {settings.precision!r}, {reason}", param="INGRAIN_PRECISION")
    for ref in models:
        if reason := why_not(ref.precision, settings, ref.library):
            raise SettingsError(
                f"INGRAIN_MODELS asks for {ref.name!r} in {ref.precision!r}, {reason}", param="INGRAIN_MODELS"
            )
