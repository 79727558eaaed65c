"""Puts the scaling and normalization of pixels in front of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ImageGraph(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """Computes a network's output from ``uint8 [B, H, W, 3]``; scales and normalizes in one step.

    Args:
        network: Takes float32 ``[B, 3, H, W]``; returns float32 ``[B, D]``, or a tuple whose first element that is.
        mean: Mean per channel, for pixels from 0 to 1.
        std: Standard deviation per channel.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        deviation = torch.tensor(std, dtype=torch.float64)
        shift = -torch.tensor(mean, dtype=torch.float64) / deviation
        self.register_buffer("scale", (1 / (255 * deviation)).float().reshape(1, 3, 1, 1))
        self.register_buffer("shift", shift.float().reshape(1, 3, 1, 1))
        self.eval()

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute the output.

        Args:
            *tensors: A single tensor, uint8 ``[B, H, W, 3]``.

        Returns:
            float32 ``[B, D]``.
        """
        (pixels,) = tensors
        channels_first = pixels.permute(0, 3, 1, 2).to(torch.float32)
        output = self.network(channels_first * self.scale + self.shift)
        return output[0] if isinstance(output, tuple) else output
