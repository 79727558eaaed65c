"""The family of OpenCLIP models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingrain.export.families.protocol import Family, Source, WeightFiles
from ingrain.export.process.job import ExportJob


def _open(_: ExportJob, folder: Path) -> Source:
    from ingrain.export.families.open_clip.checkpoint import inspect_clip
    from ingrain.export.families.open_clip.source import ClipSource

    return ClipSource(inspect_clip(folder))


def _architecture_config(name: str) -> dict[str, Any] | None:
    import open_clip

    architecture = name.replace("/", "-")
    model = open_clip.get_model_config(architecture) if architecture in open_clip.list_models() else None
    return None if model is None else {"model_cfg": model, "preprocess_cfg": {}}


FAMILIES = (
    Family(
        library="open_clip",
        weights=WeightFiles(
            names=(
                "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
                "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin", "pytorch_model.pth",
                "model.pth",
            ),
            wrappers=("state_dict",),
        ),
        open=_open,
        architecture_config=_architecture_config,
    ),
)  # fmt: skip
