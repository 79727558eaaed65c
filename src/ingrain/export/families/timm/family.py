"""The family of timm's image encoders and classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.protocol import Family, Source, WeightFiles
from ingrain.export.precision.choose import refuse_int8
from ingrain.export.process.job import ExportJob


def _open(job: ExportJob, folder: Path) -> Source:
    from ingrain.export.families.timm.checkpoint import inspect_timm
    from ingrain.export.families.timm.source import TimmSource

    refuse_int8(job.precision, "A timm model takes images")
    source = TimmSource(inspect_timm(folder), headless=job.task == "embed")
    if job.task == "classify" and not source.is_classifier:
        raise UnsupportedModelError('The model has no classifier layer; load it with `"task": "embed"`.', param="task")
    return source


def _architecture_config(name: str) -> dict[str, Any] | None:
    import timm
    from timm.models import filter_pretrained_cfg

    try:
        known = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # the architecture has no such tag
        known = None
    if known is None:
        return None
    trained = filter_pretrained_cfg(known.to_dict(), remove_source=True, remove_null=True)
    # These describe the architecture's published weights; the user's weights are in timm's own format.
    for key in ("architecture", "custom_load", "label_offset"):
        trained.pop(key, None)
    architecture = name.partition(".")[0]
    return {"architecture": architecture, "num_classes": trained.get("num_classes"), "pretrained_cfg": trained}


FAMILIES = (
    Family(
        library="timm",
        weights=WeightFiles(
            names=("model.safetensors", "pytorch_model.bin"),
            wrappers=("state_dict_ema", "model_ema", "state_dict", "model"),
        ),
        open=_open,
        architecture_config=_architecture_config,
    ),
)
