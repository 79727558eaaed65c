"""Converts logits into probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]


def softmax(logits: Scores) -> Scores:
    """Return probabilities that sum to 1 in each row; numerically stable for logits of any size.

    Args:
        logits: ``float32 [N, K]``.
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Scores = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def sigmoid(logits: Scores) -> Scores:
    """Return an independent probability for each label; numerically stable for logits of any size.

    Args:
        logits: ``float32 [N, K]``.
    """
    small = np.exp(-np.abs(logits))
    probabilities: Scores = np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
    return probabilities
