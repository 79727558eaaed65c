"""Receives what the source makes of pictures and a graph, hands on the measured difference.

The pictures go through the very code that serves them, so that a difference in resizing or cropping shows as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingrain.errors import ExportError, VerificationError
from ingrain.export.proof.compare import compare
from ingrain.export.proof.measured import Floors, Measured
from ingrain.export.proof.pictures import pictures
from ingrain.machine_faults import raise_if_machines
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.repository.manifest import ImagePreprocess, ToRgb, Verification

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Measure = Callable[[Floats, Floats], tuple[float, float]]

# The source normalizes in another order of operations than we check in; a pixel that is off by one is 50 times that.
_PIXEL_TOLERANCE = 1e-4


class ImageSource(Protocol):
    """The source library's own way from pictures to its output."""

    def pixels(self, pictures: Sequence[Any]) -> Floats:
        """Return what its network gets of Pillow pictures, float32 ``[B, 3, H, W]``."""
        ...

    def embed_pixels(self, pixels: Floats) -> Floats:
        """Return vectors or logits, float32 ``[B, D]``."""
        ...


@dataclass(frozen=True, slots=True)
class ImageReferences:
    """What the source says.

    Attributes:
        pixels: Our pixels, ``uint8 [B, H, W, 3]``, found equal to the source's.
        expected: The source's output, float32 ``[B, D]``.
        alone: How many of them the graph gets alone too; all of them are proved in batches.
    """

    pixels: Pixels
    expected: Floats
    alone: int

    @property
    def width(self) -> int:
        """``D``."""
        return int(self.expected.shape[1])


def ask_image_source(source: ImageSource, config: ImagePreprocess, *, brief: bool = False) -> ImageReferences:
    """Have the source look at the pictures of the proof.

    Args:
        source: The source.
        config: The exported geometry.
        brief: True for few pictures, where hundreds of models are compared.

    Raises:
        VerificationError: Our pixels differ from the source's.
        ExportError: The source's own output is not finite.
    """
    encoded = pictures(brief=brief)
    preprocessor = ImagePreprocessor(config)
    ours = np.stack([preprocessor.prepare(data) for data in encoded])
    theirs = source.pixels([_open(data, config) for data in encoded])
    _compare_pixels(ours, theirs, config)
    expected = source.embed_pixels(theirs)
    if expected.ndim != 2:
        raise ExportError(f"The source gives an output of the shape {expected.shape} instead of one vector a picture.")
    if not np.isfinite(expected).all():
        raise ExportError("The source library's own vectors hold NaN or infinity; the weights are unusable.")
    return ImageReferences(ours, expected, alone=1 if brief else len(expected))


def prove_images(
    session: Any,
    references: ImageReferences,
    *,
    tolerance: float,
    report: Callable[[int, int], None],
    measure: Measure = compare,
    floors: Floors | None = None,
) -> Verification:
    """Compare a graph with the source, pictures alone and in batches of several sizes.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        references: What the source said.
        tolerance: What must agree, where there are no floors.
        report: Called with cases done and in all.
        measure: Returns the difference of two rows, and their cosine.
        floors: What the cosines of a lower precision must reach.

    Raises:
        VerificationError: A row differs by more than is allowed, is not finite or has another shape.
    """
    count = len(references.expected)
    batches = [[number] for number in range(references.alone)]
    batches += [list(range(size)) for size in sorted({min(3, count), count})]
    total = sum(map(len, batches))
    alone: dict[int, Floats] = {}
    measured = Measured()
    for batch in batches:
        report(measured.cases, total)
        for number, row in zip(batch, _run(session, references.pixels[batch], references.width), strict=True):
            itself = measure(row, alone.setdefault(number, row))
            measured.add(measure(row, references.expected[number]), itself)
    measured.check(tolerance, floors, what="outputs for pictures")
    return measured.verification(tolerance=tolerance, floors=floors)


def compare_logits(ours: Floats, theirs: Floats) -> tuple[float, float]:
    """Return how far two rows of logits are apart, as probabilities and as vectors of unit length; and their cosine."""
    difference, cosine = compare(ours, theirs)
    return max(difference, float(np.abs(_softmax(ours) - _softmax(theirs)).max())), cosine


def _softmax(logits: Floats) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: NDArray[np.float64] = powers / powers.sum()
    return probabilities


def _open(data: bytes, config: ImagePreprocess) -> Image.Image:
    """Open a picture as users of the source do; timm takes RGB only, so that conversion is theirs."""
    image = Image.open(BytesIO(data))
    return image.convert("RGB") if isinstance(config.steps[0], ToRgb) else image


def _compare_pixels(ours: Pixels, theirs: Floats, config: ImagePreprocess) -> None:
    mean, std = np.array(config.mean, np.float32), np.array(config.std, np.float32)
    normalized = ((ours.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    if normalized.shape != theirs.shape:
        raise VerificationError(
            f"The prepared pictures have the shape {normalized.shape}, and {theirs.shape} is right."
        )
    difference = float(np.abs(normalized - theirs).max())
    if difference > _PIXEL_TOLERANCE:
        raise VerificationError(
            f"The prepared pictures differ from the source library's by up to {difference:.2g} (normalized), so the "
            "model was not published."
        )


def _run(session: Any, pixels: Pixels, width: int) -> Floats:
    try:
        rows: Floats = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise_if_machines(error)
        raise VerificationError(
            f"The graph fails on {len(pixels)} pictures: a size was fixed while exporting."
        ) from error
    if rows.shape != (len(pixels), width):
        raise VerificationError(f"The graph gives an output of the shape {rows.shape}, not {(len(pixels), width)}.")
    if not np.isfinite(rows).all():
        raise VerificationError("The graph gives NaN or infinity where the source library does not.")
    return rows
