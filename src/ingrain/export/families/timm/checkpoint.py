"""Checks the files of a timm model before anything is loaded, and refuses models that cannot be converted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain.export.model_files import find_safetensors, read_json, unsupported

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_ARGUMENTS_OF_LOADING = ("pretrained", "checkpoint", "cache", "feature", "kwargs", "url", "file", "load")
_ARCHITECTURE = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class TimmCheckpoint:
    """A checked timm folder.

    Attributes:
        folder: The model's folder.
        architecture: timm's name of the network.
        num_classes: Outputs of the classifier layer; 0 without one, None if the folder does not say.
    """

    folder: Path
    architecture: str
    num_classes: int | None


def inspect_timm(folder: Path) -> TimmCheckpoint:
    """Check a folder by its ``config.json`` alone.

    Raises:
        UnsupportedModelError: It is no timm folder, its input is not an RGB image, its classifier layer does not fit
            the weights, or the weights exist only as pickle.
    """
    config = read_json(folder / CONFIG)
    if "auto_map" in config:
        raise unsupported(f"The model's {CONFIG} names custom code (auto_map), which timm does not run.")
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not _ARCHITECTURE.fullmatch(architecture):
        raise unsupported(f"The model's {CONFIG} names no architecture of timm.")
    trained = config.get("pretrained_cfg", config)
    arguments = config.get("model_args") or {}
    if not isinstance(trained, dict) or not isinstance(arguments, dict):
        raise unsupported(f"The model's {CONFIG} cannot be read.")
    # timm passes model_args to its loader, so such an argument could make it read any file or URL.
    for name in arguments:
        if str(name).startswith(_ARGUMENTS_OF_LOADING):
            raise unsupported(f"The model's {CONFIG} has the argument {name!r}, which concerns the loading of weights.")
    channels = arguments.get("in_chans") or (trained.get("input_size") or [3])[0]
    if channels != 3:
        raise unsupported(f"The model takes images with {channels} channels; only RGB images are supported.")
    num_classes = config.get("num_classes", trained.get("num_classes"))
    wanted = arguments.get("num_classes", num_classes)
    if wanted != num_classes:
        # timm would skip the classifier layer of the weights and initialize it at random.
        raise unsupported(f"The model's {CONFIG} asks for {wanted} classes, but its weights have {num_classes}.")
    find_safetensors(folder, [WEIGHTS])
    return TimmCheckpoint(folder, architecture, num_classes)


def labels_of(config: dict[str, Any], num_classes: int) -> tuple[str, ...]:
    """Return class names: the model's own, else those of the ImageNet variant with that many classes, else numbers.

    Raises:
        UnsupportedModelError: The model has more names than classes, or they cannot be read.
    """
    from timm.data import CustomDatasetInfo, ImageNetInfo, infer_imagenet_subset

    names = config.get("label_names")
    if names:
        try:
            info = CustomDatasetInfo(names)
            own = tuple(str(info.index_to_label_name(i)) if info.has_label(i) else str(i) for i in range(num_classes))
        except (ValueError, TypeError, KeyError) as error:
            raise unsupported("The model's label_names cannot be read.") from error
        if len(names) > num_classes:
            raise unsupported(f"The model has {num_classes} classes but {len(names)} label_names.")
        return own
    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return tuple(map(str, range(num_classes)))
    imagenet = ImageNetInfo(subset)
    return tuple(imagenet.index_to_description(number) for number in range(num_classes))
