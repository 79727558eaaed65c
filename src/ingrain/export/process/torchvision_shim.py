"""Lets builds of torch and torchvision that do not match be imported together."""

from __future__ import annotations

from typing import Any

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# Keeps the library objects alive: when one is collected, its schemas are removed.
_owners: list[Any] = []


def install() -> None:
    """Declare torchvision's operators if the compiled ones cannot load (a CUDA build with a CPU build of torch).

    Importing transformers, timm or open_clip then works. The operators are for object detection; embedding models never
    run them. Call this before the first import of torchvision.
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
    """Return True if torchvision's operators load; does not import the Python package."""
    import importlib.util
    from pathlib import Path

    import torch

    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return True  # torchvision is not installed
    for file in sorted(Path(package.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(file))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
