"""Converts the vectors of tokens into the requested form, and scores documents by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import InvalidRequestError
from ingrain.postprocess.quantize import AnyVectors, quantize
from ingrain.repository.token_rules import LateInteraction

TokenDtype = Literal["float", "float16", "int8", "binary", "ubinary"]

_SMALLEST_NORM = 1e-12
# Rounding error of the squared length of a unit vector in float32.
_UNIT_WITHIN = 1e-6
_INT8_SCALE = 127
_NO_VECTORS_SCORE = -1e9
# Elements of the products of a query with some documents: 16 MiB.
_MOST_PRODUCTS = 4_000_000


def finish_tokens(
    rows: NDArray[np.float32], *, dimensions: int | None, normalize: bool, dtype: TokenDtype
) -> AnyVectors:
    """Cut vectors to their first dimensions, then normalize, then convert them.

    Args:
        rows: ``float32 [N, D]``.
        dimensions: Number of leading dimensions to keep; all if None.
        normalize: Whether to normalize to unit length. Zeros stay zeros.
        dtype: ``int8`` is 127 times a vector, which must have unit length, rounded to whole numbers; bits are packed
            as ``quantize`` does.

    Returns:
        ``[N, dimensions or D]`` of ``float32``, ``float16`` or ``int8``; for bits ``[N, ceil(D / 8)]``.

    Raises:
        InvalidRequestError: A number is too large for ``float16``.
    """
    rows = rows[:, :dimensions]
    if normalize:
        squares = np.einsum("nd,nd->n", rows, rows)
        if (np.abs(squares - 1.0) > _UNIT_WITHIN).any():
            rows = rows / np.maximum(np.sqrt(squares), _SMALLEST_NORM)[:, None]
    if dtype == "float":
        return np.ascontiguousarray(rows)
    if dtype == "float16":
        with np.errstate(over="ignore"):
            halves = rows.astype(np.float16)
        if np.isinf(halves).any():
            raise InvalidRequestError(
                "float16 holds numbers up to 65504, and the model gives larger ones; send `normalize: true`, or use "
                "another `outputDtype`.",
                param="outputDtype",
            )
        return halves
    if dtype == "int8":
        whole: AnyVectors = np.rint(_INT8_SCALE * rows).astype(np.int8)
        return whole
    return quantize(rows, dtype, None)


def late_interaction(
    query: NDArray[np.float32], documents: Sequence[NDArray[np.float32]], function: LateInteraction
) -> NDArray[np.float32]:
    """Score documents by late interaction, as ``sentence_transformers.util.maxsim`` does.

    For each vector of the query, the largest dot product with a vector of the document is found; the score is their
    sum, for ``meanmaxsim`` their mean (Khattab and Zaharia 2020). A document without vectors comes last: its sum is
    -1e9.

    Args:
        query: ``float32 [Q, D]``.
        documents: ``float32 [t, D]`` each.
        function: ``maxsim`` or ``meanmaxsim``.

    Returns:
        ``float32 [N]``.
    """
    scores = np.full(len(documents), _NO_VECTORS_SCORE, np.float32)
    given = [index for index, document in enumerate(documents) if len(document)]
    most = max(1, _MOST_PRODUCTS // max(1, len(query)))
    while given:
        count, tokens = 0, 0
        while count < len(given) and (not count or tokens + len(documents[given[count]]) <= most):
            tokens += len(documents[given[count]])
            count += 1
        part, given = given[:count], given[count:]
        lengths = [len(documents[index]) for index in part]
        products = query @ np.concatenate([documents[index] for index in part]).T
        starts = np.cumsum([0, *lengths[:-1]])
        scores[part] = np.maximum.reduceat(products, starts, axis=1).sum(axis=0)
    return scores / max(1, len(query)) if function == "meanmaxsim" else scores
