"""Skips most of the random numbers that a network gets before its checkpoint is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

# What the initialisers of torch, timm and OpenCLIP end in.
DRAWS = ("uniform_", "normal_")
_BLOCK = 65_536


@contextmanager
def repeated_random() -> Iterator[None]:
    """Have large tensors filled with one block of random numbers over and over, while the context is open.

    Drawing a number costs more than reading it from a file. Some numbers there must be: initialisers that cut a
    distribution draw until all are within the bounds. Only for a network whose weights are then all loaded: a loader
    that is strict about missing weights must follow.
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
