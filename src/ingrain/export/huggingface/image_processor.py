"""Translates an image processor of transformers into the manifest's steps, and refuses unsupported settings."""

from __future__ import annotations

from typing import Any, get_args

from ingrain.export.families.image_steps import not_modelled, pair, triple
from ingrain.export.model_files import unsupported
from ingrain.repository.image_preprocess import (
    CenterCrop,
    ImagePreprocess,
    ImageStep,
    Interpolation,
    OnWhite,
    Resize,
    ResizeTensor,
    TensorInterpolation,
    ToRgb,
)

# Values of PIL.Image.Resampling, which the configurations use.
_FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# Methods of the base classes; a processor that overrides one of them is not supported.
_STEPS = ("_preprocess", "process_image", "resize", "center_crop", "rescale_and_normalize", "rescale", "normalize")
_NO_MEAN, _NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def preprocess_config_from_transformers(processor: Any) -> ImagePreprocess:
    """Translate an image processor of transformers 5 (``CLIPImageProcessor``, ``SiglipImageProcessor``, …) into steps.

    The base class does the work by the processor's settings: convert, resize, center crop, rescale, normalize. The
    default base class uses torchvision and resizes like torch; the other one (``backend="pil"``) resizes like Pillow.

    Raises:
        UnsupportedModelError: The class overrides a step, or a setting is not supported.
    """
    on_tensors = _uses_torchvision(processor)
    if not processor.do_resize:
        raise not_modelled("do_resize", processor.do_resize)
    if getattr(processor, "do_pad", None):
        raise not_modelled("do_pad", processor.do_pad)
    if not processor.do_rescale or abs(processor.rescale_factor * 255 - 1) > 1e-6:
        raise not_modelled("rescale_factor", processor.rescale_factor if processor.do_rescale else None)
    geometry: list[ImageStep] = []
    size = dict(processor.size)
    keeps_ratio = set(size) == {"shortest_edge"}
    if keeps_ratio:
        target = pair("size", size["shortest_edge"])
    elif set(size) == {"height", "width"}:
        target = pair("size", [size["height"], size["width"]])
    else:
        raise not_modelled("size", size)
    geometry.append(_resize(on_tensors, target, keeps_ratio, processor.resample))
    if processor.do_center_crop:
        crop = dict(processor.crop_size)
        cut = pair("crop_size", [crop.get("height"), crop.get("width")])
        if not on_tensors and (cut[0] > target[0] or cut[1] > target[1]):
            raise not_modelled("crop_size", crop)  # the two base classes pad differently
        geometry.append(CenterCrop(cut, odd="behind"))
        target = cut
    elif keeps_ratio:
        raise not_modelled("do_center_crop", processor.do_center_crop)
    # Without do_convert_rgb a processor accepts RGB images only, so the server converts with ToRgb.
    colours: tuple[ImageStep, ...] = (OnWhite(), ToRgb()) if processor.do_convert_rgb else (ToRgb(),)
    normalizes = bool(processor.do_normalize)
    return ImagePreprocess(
        size=target,
        steps=(*colours, *geometry),
        mean=triple("image_mean", processor.image_mean if normalizes else None, _NO_MEAN),
        std=triple("image_std", processor.image_std if normalizes else None, _NO_STD),
    )


def _uses_torchvision(processor: Any) -> bool:
    from transformers import image_processing_backends as backends

    kind = type(processor)
    base = next((base for base in (backends.TorchvisionBackend, backends.PilBackend) if issubclass(kind, base)), None)
    own = (
        [] if base is None else [name for name in _STEPS if getattr(kind, name, None) is not getattr(base, name, None)]
    )
    if base is None or own:
        raise unsupported(
            f"The image processor {kind.__name__!r} is not supported, because it has its own way to prepare images."
        )
    return base is backends.TorchvisionBackend


def _resize(on_tensors: bool, size: tuple[int, int], keeps_ratio: bool, resample: Any) -> ImageStep:
    name = _FILTERS.get(int(resample)) if isinstance(resample, int) else None
    if name is None or (on_tensors and name not in get_args(TensorInterpolation)):
        raise not_modelled("resample", resample)
    mode = "shortest" if keeps_ratio else "squash"
    return ResizeTensor(size, mode, name) if on_tensors else Resize(size, mode, name)  # type: ignore[arg-type]  # as checked
