"""Random numbers for networks of hundreds of millions of weights, several times as fast as torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

_LARGE = 65_536


@contextmanager
def fast_random(seed: int) -> Iterator[None]:
    """Have torch's ``uniform_`` and ``normal_`` fill large tensors from numpy's generator, while the context is open.

    Args:
        seed: Seed of the generator.
    """
    import torch

    generator = np.random.Generator(np.random.SFC64(seed))
    plain_uniform, plain_normal = torch.Tensor.uniform_, torch.Tensor.normal_

    def uniform(tensor: Any, a: float = 0.0, b: float = 1.0, **options: Any) -> Any:
        if tensor.numel() < _LARGE or tensor.is_meta:
            return plain_uniform(tensor, a, b, **options)
        values = generator.random(tuple(tensor.shape), dtype=np.float32)
        with torch.no_grad():
            return tensor.copy_(torch.from_numpy(values).mul_(b - a).add_(a))

    def normal(tensor: Any, mean: float = 0.0, std: float = 1.0, **options: Any) -> Any:
        if tensor.numel() < _LARGE or tensor.is_meta:
            return plain_normal(tensor, mean, std, **options)
        values = generator.standard_normal(tuple(tensor.shape), dtype=np.float32)
        with torch.no_grad():
            return tensor.copy_(torch.from_numpy(values).mul_(std).add_(mean))

    with mock.patch.object(torch.Tensor, "uniform_", uniform), mock.patch.object(torch.Tensor, "normal_", normal):
        yield
