"""The requested form of vectors: dimensions, normalization and number type."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.errors import InvalidRequestError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Rows
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors, OutputDtype, quantize
from ingrain.postprocess.vectors import finish


class VectorForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of vectors: first cut to ``dimensions``, then normalized, then quantized.

    Attributes:
        normalize: True to scale vectors to unit length.
        dimensions: Number of leading dimensions to keep; None to keep all.
        dtype: Number type.
        dimensions_param: Name of the request field for ``dimensions``, for errors.
        dtype_param: Name of the request field for ``dtype``, for errors.
    """

    normalize: bool = True
    dimensions: int | None = None
    dtype: OutputDtype = "float"
    dimensions_param: str = "nDims"
    dtype_param: str = "outputDtype"


def check_form(form: VectorForm, model: LoadedModel) -> NDArray[np.float32] | None:
    """Check the form; return the calibration ranges for int8 and uint8, ``float32 [2, D]``, else None.

    Raises:
        InvalidRequestError: The model cannot produce vectors of this form.
    """
    name, width = model.manifest.name, model.manifest.embedding_size
    if form.dimensions is not None and form.dimensions > width:
        raise InvalidRequestError(
            f"{form.dimensions_param} is {form.dimensions}, but the vectors of model {name!r} have {width} dimensions.",
            param=form.dimensions_param,
            facts={"limit": width},
        )
    if form.dtype not in NEEDS_RANGES:
        return None
    if model.calibration is None:
        raise InvalidRequestError(
            f"Model {name!r} was stored without the calibration ranges for {form.dtype} vectors. Delete the model and "
            "load it again to measure them.",
            param=form.dtype_param,
        )
    return model.calibration.ranges(dimensions=form.dimensions, normalize=form.normalize)


def dtype_converter(form: VectorForm, dtype: OutputDtype, model: LoadedModel) -> Callable[[Rows], AnyVectors]:
    """Return what converts finished float vectors, ``float32 [N, D]``, to another number type.

    So that a request can have its vectors in several types, computed once: as ``float`` and then converted.

    Args:
        form: The form of the float vectors.
        dtype: Number type.
        model: The model of the vectors.

    Raises:
        InvalidRequestError: The model cannot produce vectors of this type.
    """
    ranges = check_form(msgspec.structs.replace(form, dtype=dtype), model)
    return lambda rows: quantize(rows, dtype, ranges)


def finish_vectors(rows: Rows, form: VectorForm, ranges: NDArray[np.float32] | None = None) -> AnyVectors:
    """Convert a graph's rows, ``float32 [N, D]``, into the requested form."""
    rows = finish(rows, dimensions=form.dimensions, normalize=form.normalize)
    return rows if form.dtype == "float" else quantize(rows, form.dtype, ranges)
