"""Converts logits into probabilities."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Activation = Literal["identity", "sigmoid", "softmax", "tanh", "relu"]


def activate(logits: Scores, activation: Activation) -> Scores:
    """Return what a cross-encoder's activation function makes of logits, ``float32 [N, K]``."""
    match activation:
        case "sigmoid":
            return sigmoid(logits)
        case "softmax":
            return softmax(logits)
        case "tanh":
            return np.tanh(logits)
        case "relu":
            return np.maximum(logits, 0)
        case _:
            return logits


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
