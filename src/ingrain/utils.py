"""A helper of the first generation of clients."""

from __future__ import annotations

from typing import Any

import numpy as np

_ROWS = ("embeddings", "textEmbeddings", "imageEmbeddings", "probabilities")


def make_response_data_numpy(response: dict[str, Any]) -> dict[str, Any]:
    """Replace the rows of a response, lists ``[N, D]``, by float64 arrays."""
    for name in _ROWS:
        if name in response:
            response[name] = np.array(response[name])
    return response


make_response_embeddings_numpy = make_response_data_numpy
