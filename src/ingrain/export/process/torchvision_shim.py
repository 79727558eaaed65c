"""Lets torch and torchvision builds that do not match be imported together."""

from __future__ import annotations

from typing import Any

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# The library object owns its schemas: when it is collected, they are gone again.
_owners: list[Any] = []


def install() -> None:
    """Declare torchvision's operators where its compiled ones cannot load (a CUDA build beside a CPU build of torch).

    Importing transformers, timm or open_clip then works; the operators themselves belong to object detection and are
    never run by an embedding model. Must come before the first import of torchvision. Where the operators are there,
    nothing happens.
    """
    import torch

    if _owners or _operators_load():
        return
    library = torch.library.Library("torchvision", "DEF")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _owners.append(library)


def _operators_load() -> bool:
    """Tell whether torchvision can be imported as it is, without importing its Python side."""
    import importlib.util
    from pathlib import Path

    import torch

    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return True  # nothing to mend
    for file in sorted(Path(package.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(file))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
