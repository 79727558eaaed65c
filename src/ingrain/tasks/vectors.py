"""The form in which a request wants its vectors: width, length and number type."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.errors import InvalidRequestError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Rows
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors, OutputDtype, quantize
from ingrain.postprocess.vectors import finish


class VectorForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of vectors: cut to ``dimensions``, then normalized, then quantized.

    Attributes:
        normalize: True for unit length.
        dimensions: Leading dimensions to keep; all if None.
        dtype: Number type.
        dimensions_param: The caller's name of ``dimensions``, for errors.
    """

    normalize: bool = True
    dimensions: int | None = None
    dtype: OutputDtype = "float"
    dimensions_param: str = "nDims"


def check_form(form: VectorForm, model: LoadedModel) -> NDArray[np.float32] | None:
    """Return the calibration ranges that quantized vectors need, ``float32 [2, D]``; None for other forms.

    Raises:
        InvalidRequestError: The model's vectors cannot have this form.
    """
    name, width = model.manifest.name, model.manifest.embedding_size
    if form.dimensions is not None and form.dimensions > width:
        raise InvalidRequestError(
            f"{form.dimensions_param} is {form.dimensions}, and the vectors of model {name!r} have {width} dimensions.",
            param=form.dimensions_param,
            facts={"limit": width},
        )
    if form.dtype not in NEEDS_RANGES:
        return None
    if model.calibration is None:
        raise InvalidRequestError(
            f"Model {name!r} was stored without the ranges that {form.dtype} vectors need; delete it and load it "
            "again to have them measured.",
            param="outputDtype",
        )
    return model.calibration.ranges(dimensions=form.dimensions, normalize=form.normalize)


def finish_vectors(rows: Rows, form: VectorForm, ranges: NDArray[np.float32] | None = None) -> AnyVectors:
    """Bring a graph's rows, ``float32 [N, D]``, into the form asked for."""
    rows = finish(rows, dimensions=form.dimensions, normalize=form.normalize)
    return rows if form.dtype == "float" else quantize(rows, form.dtype, ranges)
