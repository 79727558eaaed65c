"""Translates OpenCLIP's and timm's image configuration into the manifest's steps; refuses unsupported settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from ingrain.errors import UnsupportedModelError
from ingrain.repository.image_preprocess import CenterCrop, ImagePreprocess, ImageStep, Interpolation, Resize, ToRgb

_OPEN_CLIP_KEYS = {"size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color"}
_TIMM_KEYS = {"input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode"}
# Defaults of open_clip.transform.PreprocessCfg and timm.data.constants.
_OPEN_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPEN_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_TIMM_MEAN = (0.485, 0.456, 0.406)
_TIMM_STD = (0.229, 0.224, 0.225)
_TIMM_CROP_PCT = 0.875

Triple = tuple[float, float, float]


def preprocess_config_from_open_clip(config: object) -> ImagePreprocess:
    """Translate OpenCLIP's ``PreprocessCfg`` into steps equal to ``image_transform_v2(config, is_train=False)``.

    Args:
        config: A ``PreprocessCfg``, or its dictionary (a model's ``visual.preprocess_cfg``).

    Raises:
        UnsupportedModelError: A field or value is not supported.
    """
    given = _as_mapping(config)
    _refuse_unknown(given, _OPEN_CLIP_KEYS)
    if given.get("mode", "RGB") != "RGB":
        raise not_modelled("mode", given["mode"])
    size = pair("size", given.get("size", 224))
    name = given.get("interpolation") or "bicubic"
    if name not in ("bicubic", "bilinear", "random"):
        raise not_modelled("interpolation", name)
    # "random" concerns training; at inference OpenCLIP then uses bicubic.
    interpolation: Interpolation = "bilinear" if name == "bilinear" else "bicubic"
    resize_mode = given.get("resize_mode") or "shortest"
    geometry: tuple[ImageStep, ...]
    match resize_mode:
        case "shortest":
            if size[0] != size[1]:
                interpolation = "bicubic"  # OpenCLIP calls ResizeKeepRatio(size) without the configured filter
            geometry = (Resize(size, "shortest", interpolation), CenterCrop(size))
        case "longest":
            fill = given.get("fill_color", 0)
            if not isinstance(fill, int) or isinstance(fill, bool):
                raise not_modelled("fill_color", fill)
            geometry = (Resize(size, "longest", interpolation), CenterCrop(size, fill))
        case "squash":
            geometry = (Resize(size, "squash", interpolation),)
        case _:
            raise not_modelled("resize_mode", resize_mode)
    return ImagePreprocess(
        size=size,
        steps=(*geometry, ToRgb()),  # OpenCLIP converts last, which matters for palettes and alpha
        mean=triple("mean", given.get("mean"), _OPEN_CLIP_MEAN),
        std=triple("std", given.get("std"), _OPEN_CLIP_STD),
    )


def preprocess_config_from_timm(data_config: Mapping[str, Any]) -> ImagePreprocess:
    """Translate timm's data configuration into steps equal to ``create_transform(**data_config)`` on an RGB image.

    timm's transform accepts RGB images only, so the steps begin with the conversion that timm's datasets do.

    Raises:
        UnsupportedModelError: A field or value is not supported.
    """
    _refuse_unknown(data_config, _TIMM_KEYS)
    input_size = tuple(data_config.get("input_size") or (3, 224, 224))
    if len(input_size) != 3 or input_size[0] != 3:
        raise not_modelled("input_size", input_size)
    size = pair("input_size", input_size[1:])
    name = data_config.get("interpolation", "bilinear")
    if name not in get_args(Interpolation):
        raise not_modelled("interpolation", name)
    interpolation = cast(Interpolation, name)
    crop_pct = data_config.get("crop_pct") or _TIMM_CROP_PCT
    if not isinstance(crop_pct, int | float) or not 0 < crop_pct <= 8:
        raise not_modelled("crop_pct", crop_pct)
    scaled = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
    mean = triple("mean", data_config.get("mean"), _TIMM_MEAN)
    geometry: tuple[ImageStep, ...]
    match data_config.get("crop_mode") or "center":
        case "center":
            geometry = (Resize(scaled, "shortest", interpolation), CenterCrop(size))
        case "squash":
            geometry = (Resize(scaled, "squash", interpolation), CenterCrop(size))
        case "border":
            colour = (round(255 * mean[0]), round(255 * mean[1]), round(255 * mean[2]))
            geometry = (Resize(scaled, "longest", interpolation), CenterCrop(size, colour))
        case crop_mode:
            raise not_modelled("crop_mode", crop_mode)
    std = triple("std", data_config.get("std"), _TIMM_STD)
    return ImagePreprocess(size=size, steps=(ToRgb(), *geometry), mean=mean, std=std)


def _as_mapping(config: object) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    if isinstance(config, Mapping):
        return config
    raise not_modelled("configuration", type(config).__name__)


def _refuse_unknown(given: Mapping[str, Any], known: set[str]) -> None:
    for key in sorted(set(given) - known):
        if given[key] is not None:
            raise not_modelled(key, given[key])


def pair(key: str, value: Any) -> tuple[int, int]:
    """Return a size as ``(height, width)``; a single number means both."""
    sides = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side <= 16_384 for side in sides):
        raise not_modelled(key, value)
    return (sides[0], sides[1])


def triple(key: str, value: Any, default: Triple) -> Triple:
    """Return a value per channel; a single number means all three."""
    if not value:  # in both libraries a bare 0 means the default; a tuple of zeros does not
        return default
    values = (value,) * 3 if isinstance(value, int | float) else tuple(value)
    usable = len(values) == 3 and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    if not usable or (key == "std" and 0 in values):
        raise not_modelled(key, value)
    return (float(values[0]), float(values[1]), float(values[2]))


def not_modelled(key: str, value: object) -> UnsupportedModelError:
    """Return the error for an unsupported setting."""
    return UnsupportedModelError(f"The model's image preprocessing has {key} = {value!r}, which is not supported.")
