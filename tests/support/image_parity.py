"""How far our pixels are from the source libraries' own transforms, picture by picture.

``python -m image_parity docs/images.md`` writes the table into that page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from images import awkward_pictures, photographs
from ingrain.errors import IngrainError, TooLargeError
from ingrain.export.families.image_steps import preprocess_config_from_open_clip, preprocess_config_from_timm
from ingrain.export.huggingface.image_processor import preprocess_config_from_transformers
from ingrain.export.process.torchvision_shim import install
from ingrain.preprocess.image import DEFAULT_MAX_PIXELS, ImagePreprocessor
from ingrain.preprocess.image_formats import NAMES, check_format
from ingrain.repository.image_preprocess import ImagePreprocess

# Pillow's word for the JPEG files of cameras that hold several pictures.
_TAKEN = {*(name.upper() for name in NAMES), "MPO"}
_LIBRARIES = ("open_clip", "timm", "transformers")
_BEGIN, _END = "<!-- parity: begin -->", "<!-- parity: end -->"


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration of a source library.

    Attributes:
        name: Its words.
        config: Our translation of it.
        transform: The library's own transform, from what ``PIL.Image.open`` gives to a tensor.
        finish: The library's own scaling and normalization, from pixels to a tensor; None for torchvision's.
    """

    name: str
    config: ImagePreprocess
    transform: Callable[[Image.Image], Any]
    finish: Callable[[Image.Image], Any] | None = None


def cases() -> list[Case]:
    """Return every resize mode, filter and shape that the libraries' models use, and some that none does."""
    install()
    return [*_open_clip_cases(), *_timm_cases(), *_transformers_cases()]


def difference(case: Case, picture: bytes, expected: Any = None) -> float:
    """Return the largest difference of any normalized value, computed from our pixels with the library's own steps.

    Args:
        case: The library's configuration.
        picture: A file.
        expected: The library's tensor; None for what it makes of that file.
    """
    import torch
    from torchvision.transforms import Normalize

    if expected is None:
        with Image.open(BytesIO(picture)) as image:
            expected = case.transform(image)
    pixels = ImagePreprocessor(case.config).prepare(picture)
    if case.finish is not None:
        ours = case.finish(Image.fromarray(pixels))
    else:
        scaled = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).to(torch.float32).div(255)
        ours = Normalize(mean=torch.tensor(case.config.mean), std=torch.tensor(case.config.std))(scaled)
    if ours.shape != expected.shape:
        return float("inf")
    return float((ours - expected).abs().max())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a file gives in the library and here.

    Attributes:
        what: In words; in capitals where it is not as it should be.
        detail: More of it, for people.
        difference: Largest difference of a normalized value, where both gave pixels.
    """

    what: str
    detail: str = ""
    difference: float = 0.0

    @property
    def is_wrong(self) -> bool:
        """Tell whether it is not as it should be."""
        return self.what.isupper()


def compare(case: Case, file: bytes) -> Outcome:
    """Tell what a file gives, be it a picture or not, in the library and here."""
    name: str | None = None
    try:
        with Image.open(BytesIO(file)) as image:
            name = image.format
            case.transform(image)
        refusal = ""
    except Exception as error:
        refusal = f"{type(error).__name__}: {error}"
    try:
        largest = difference(case, file) if not refusal else _prepare(case, file)
    except IngrainError as error:
        if refusal:
            what = "both refuse" if _is_taken(file) else "both refuse, no picture or of a format that is not taken"
            return Outcome(what, f"{error.message} ({refusal})")
        if isinstance(error, TooLargeError):
            return Outcome("refused by the limit on pixels", error.message)
        if name not in _TAKEN:
            return Outcome("of a format that is not taken", str(name))
        return Outcome("REFUSED BY US ALONE", error.message)
    if refusal:
        return Outcome("READ BY US ALONE", refusal)
    return Outcome("DIFFERENT", f"{case.name}: {largest:g}", largest) if largest else Outcome("equal")


def _is_taken(file: bytes) -> bool:
    try:
        check_format(file, max_pixels=DEFAULT_MAX_PIXELS, param="image")
    except TooLargeError:
        return True
    except IngrainError:
        return False
    return True


def _prepare(case: Case, file: bytes) -> float:
    ImagePreprocessor(case.config).prepare(file)
    return 0.0


def _open_clip_cases() -> list[Case]:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    found = []
    for resize_mode in ("shortest", "longest", "squash"):
        for interpolation in ("bicubic", "bilinear"):
            for size in (224, 256, (224, 320)):
                cfg = PreprocessCfg(size=size, resize_mode=resize_mode, interpolation=interpolation)
                name = f"open_clip {resize_mode} {interpolation} {size}"
                found.append(Case(name, preprocess_config_from_open_clip(cfg), image_transform_v2(cfg, is_train=False)))
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    cfg = PreprocessCfg(size=240, resize_mode="longest", fill_color=127, **half)
    found.append(
        Case("open_clip longest fill 127 240", preprocess_config_from_open_clip(cfg), image_transform_v2(cfg, False))
    )
    return found


def _timm_cases() -> list[Case]:
    from timm.data import create_transform

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = []
    for crop_mode, crop_pct, interpolation, height, width in (
        ("center", 0.875, "bicubic", 224, 224),
        ("center", 0.95, "bilinear", 288, 288),
        ("center", 1.0, "bicubic", 240, 240),
        ("center", 0.9, "lanczos", 192, 256),
        ("squash", 1.0, "bicubic", 224, 224),
        ("squash", 0.9, "bilinear", 256, 192),
        ("border", 0.95, "bicubic", 224, 224),
        ("border", 1.0, "bilinear", 192, 256),
    ):
        config: dict[str, Any] = {"input_size": (3, height, width), "interpolation": interpolation}
        config |= {"mean": mean, "std": std}
        config |= {"crop_pct": crop_pct, "crop_mode": crop_mode}
        transform = create_transform(**config, is_training=False)
        name = f"timm {crop_mode} {crop_pct} {interpolation} {height}x{width}"
        found.append(Case(name, preprocess_config_from_timm(config), _after_rgb(transform)))
    return found


def _transformers_cases() -> list[Case]:
    """Return image processors of CLIP and SigLIP, with torchvision behind them (the default) and with Pillow."""
    from transformers import CLIPImageProcessor, CLIPImageProcessorPil, SiglipImageProcessor, SiglipImageProcessorPil

    found = []
    for kind, options in (
        (CLIPImageProcessor, {}),
        (CLIPImageProcessor, {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}),
        (CLIPImageProcessor, {"size": {"shortest_edge": 225}, "resample": 2}),
        (CLIPImageProcessor, {"size": {"shortest_edge": 200}, "crop_size": {"height": 233, "width": 224}}),
        (CLIPImageProcessorPil, {}),
        (SiglipImageProcessor, {}),
        (SiglipImageProcessor, {"size": {"height": 256, "width": 256}, "resample": 2}),
        (SiglipImageProcessor, {"size": {"height": 192, "width": 288}, "resample": 1, "do_convert_rgb": None}),
        (SiglipImageProcessorPil, {"size": {"height": 384, "width": 384}}),
    ):
        processor = kind(**options)
        transform = partial(_process, processor)
        converts = bool(processor.do_convert_rgb)
        found.append(
            Case(
                f"transformers {kind.__name__} {options}",
                preprocess_config_from_transformers(processor),
                transform if converts else _after_rgb(transform),
                partial(_process, processor, do_resize=False, do_center_crop=False),
            )
        )
    return found


def _process(processor: Any, image: Image.Image, **options: bool) -> Any:
    return processor(images=image, return_tensors="pt", **options)["pixel_values"][0]


def _after_rgb(transform: Callable[[Image.Image], Any]) -> Callable[[Image.Image], Any]:
    """Convert first, as timm's datasets do before its transforms."""
    return lambda image: transform(image.convert("RGB"))


def table(pictures: Mapping[str, bytes]) -> str:
    """Return a Markdown table: pictures by largest difference over the cases of each library."""
    measured = cases()
    libraries = {name: [case for case in measured if case.name.startswith(name)] for name in _LIBRARIES}
    columns = " | ".join(f"{name}, {len(of_library)} configurations" for name, of_library in libraries.items())
    lines = [f"| picture | size | mode | {columns} |", f"|{' --- |' * (3 + len(libraries))}"]
    for name, picture in pictures.items():
        with Image.open(BytesIO(picture)) as image:
            facts = f"{image.width} x {image.height} | {image.mode}"
        worst = [max(difference(case, picture) for case in of_library) for of_library in libraries.values()]
        lines.append(f"| {name} | {facts} | " + " | ".join(f"{value:g}" for value in worst) + " |")
    return "\n".join(lines)


def main(page: Path) -> None:
    """Write the table between its marks on a page."""
    before, _, rest = page.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    rows = table({**photographs(), **awkward_pictures()})
    page.write_text(f"{before}{_BEGIN}\n{rows}\n{_END}{after}", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
