"""Lists the models that OpenCLIP and timm have published, without importing the libraries where that is possible.

Importing a library imports torch, which takes seconds. The folder ``published`` has an index of each library's list,
written by ``scripts/published_names.py``. It is used if it is of the installed version; otherwise the library is asked.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

INDEX_FOLDER = Path(__file__).with_name("published")
DISTRIBUTIONS = {"open_clip": "open-clip-torch", "timm": "timm"}
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "fill_color", "size", "mode")

TimmNames = dict[str, str | None]
"""The hub id of each name's weights (``resnet50``, ``resnet50.a1_in1k``); None if they are not on the hub."""

ClipNames = dict[str, dict[str, dict[str, Any]]]
"""Architecture, tag, and what is known of the tag's weights: ``hf_hub``, ``quick_gelu`` and preprocessing."""


def is_indexed(library: str) -> bool:
    """Return True if the index is of the installed version, so that a look-up does not import the library."""
    try:
        installed = importlib.metadata.version(DISTRIBUTIONS[library])
    except importlib.metadata.PackageNotFoundError:
        return False
    return bool(installed == _index(library)["version"])


def timm_names() -> TimmNames:
    """Return timm's list of models with weights or a description of them."""
    names: TimmNames = _index("timm")["names"] if is_indexed("timm") else timm_names_of_library()
    return names


def clip_names() -> ClipNames:
    """Return OpenCLIP's list of published weights."""
    names: ClipNames = _index("open_clip")["names"] if is_indexed("open_clip") else clip_names_of_library()
    return names


def clip_architecture(name: str) -> dict[str, Any] | None:
    """Return OpenCLIP's configuration of an architecture (``model_cfg``); None for an unknown name."""
    if not is_indexed("open_clip"):
        import open_clip

        return open_clip.get_model_config(name) if name in open_clip.list_models() else None
    package = importlib.util.find_spec("open_clip")
    folders = (package and package.submodule_search_locations) or ()
    files = {path.stem: path for folder in folders for path in Path(folder, "model_configs").glob("*.json")}
    # Compared with the names of files, never part of a path.
    return msgspec.json.decode(files[name].read_bytes()) if name in files else None


def timm_names_of_library() -> TimmNames:
    """Return timm's list of models, from timm itself."""
    import timm

    names = sorted({*timm.list_models(), *timm.list_models(include_tags=True)})
    found = {name: timm.models.get_pretrained_cfg(name) for name in names}
    return {name: config.hf_hub_id for name, config in found.items() if config is not None}


def clip_names_of_library() -> ClipNames:
    """Return OpenCLIP's list of published weights, from OpenCLIP itself."""
    import open_clip

    names: ClipNames = {}
    for architecture, tag in open_clip.list_pretrained():
        weights = open_clip.get_pretrained_cfg(architecture, tag)
        kept = {key: weights[key] for key in ("hf_hub", "quick_gelu", *PREPROCESSING) if weights.get(key) is not None}
        names.setdefault(architecture, {})[tag] = kept
    return names


@cache
def _index(library: str) -> dict[str, Any]:
    index: dict[str, Any] = msgspec.json.decode((INDEX_FOLDER / f"{library}.json").read_bytes())
    return index
