"""Recomputes buffers that are in no file with the constructor of the network's class.

transformers builds networks on the meta device and fills them from files. Buffers that are in no file (rotary
frequencies, ALiBi slopes, position ids) are recomputed by a protocol that transformers' own classes implement. Custom
classes do not, and their buffers contain uninitialized memory.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from ingrain.export.weights.initial_weights import DRAWS
from ingrain.export.weights.load_report import Loaded


def restore_buffers(loaded: Loaded) -> frozenset[str]:
    """Set buffers to the values that the constructor of the network's class computes from the configuration.

    Returns:
        The names of these buffers.
    """
    import torch

    network = loaded.network
    kept = network.state_dict(keep_vars=True)
    wanted = {name for name, _ in network.named_buffers(remove_duplicate=False) if name not in kept}
    # A persistent integer buffer that is missing from the files is computed too; a float buffer may be learned.
    wanted |= {name for name in loaded.missing if name in kept and not kept[name].is_floating_point()}
    lost = [
        (prefix, name)
        for prefix, module in network.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor) and value.is_meta
    ]
    if not wanted and not lost:
        return frozenset()
    with _parameters_without_memory():
        made = type(network)(copy.deepcopy(network.config))
    computed = {name: value for name, value in made.named_buffers(remove_duplicate=False) if not value.is_meta}
    restored = frozenset(wanted & computed.keys())
    changed = [name for name in restored if _put(network, name, computed[name])]
    for prefix, name in lost:
        setattr(network.get_submodule(prefix), name, getattr(made.get_submodule(prefix), name))
    if changed:
        print(  # noqa: T201  # the worker's stderr is its log
            f"{type(network).__name__} was loaded with wrong buffers, recomputed now: {', '.join(sorted(changed))}.",
            file=sys.stderr,
        )
    return restored


def _put(network: Any, name: str, value: Any) -> bool:
    """Replace a buffer; return True if its value changed."""
    import torch

    prefix, _, leaf = name.rpartition(".")
    buffers = network.get_submodule(prefix)._buffers
    before = buffers[leaf]
    if before is None or before.shape != value.shape or not torch.equal(before, value.to(before.dtype)):
        buffers[leaf] = value
        return True
    return False


@contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Move parameters to the meta device as soon as a module registers them, while the context is open."""
    import torch

    register = torch.nn.Module.register_parameter

    def register_empty(module: Any, name: str, parameter: Any) -> None:
        if parameter is not None and not parameter.is_meta:
            kind, needs = type(parameter), parameter.requires_grad
            parameter = kind(parameter.detach().to("meta"), requires_grad=needs)
        register(module, name, parameter)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.nn.Module, "register_parameter", register_empty))
        for name in DRAWS:  # skip them for meta tensors, where torch is slow to compute shapes and types
            draw = _unless_empty(getattr(torch.Tensor, name))
            stack.enter_context(mock.patch.object(torch.Tensor, name, draw))
        yield


def _unless_empty(draw: Callable[..., Any]) -> Callable[..., Any]:
    return lambda tensor, *arguments, **options: tensor if tensor.is_meta else draw(tensor, *arguments, **options)
