"""Speeds up the random initialization of a network whose weights are loaded afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

# The tensor methods that the initializers of torch, timm and OpenCLIP call.
DRAWS = ("uniform_", "normal_")
_BLOCK = 65_536


@contextmanager
def repeated_random() -> Iterator[None]:
    """Fill large tensors with repetitions of one block of random numbers while the context is open.

    Drawing a random number costs more than reading one from a file. The tensors cannot stay empty, because initializers
    of truncated distributions draw until all numbers are within the bounds. Use this only if a strict loader, which
    refuses missing weights, loads all weights afterwards.
    """
    import torch

    with ExitStack() as stack:
        for name in DRAWS:
            fill = _repeating(getattr(torch.Tensor, name))
            stack.enter_context(mock.patch.object(torch.Tensor, name, fill))
        yield


def _repeating(draw: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    def fill(tensor: Any, *arguments: Any, **options: Any) -> Any:
        if tensor.numel() <= _BLOCK or tensor.is_meta or not tensor.is_contiguous():
            return draw(tensor, *arguments, **options)
        block = draw(torch.empty(_BLOCK, dtype=tensor.dtype, device=tensor.device), *arguments, **options)
        with torch.no_grad():
            flat = tensor.view(-1)
            whole = len(flat) // _BLOCK * _BLOCK
            flat[:whole].view(-1, _BLOCK).copy_(block)
            flat[whole:].copy_(block[: len(flat) - whole])
        return tensor

    return fill
