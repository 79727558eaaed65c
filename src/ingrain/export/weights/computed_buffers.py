"""Recomputes the buffers of a network that no file holds, as its own constructor does.

transformers builds networks without memory and fills them from files. What no file holds (rotary frequencies, ALiBi
slopes, position ids) it asks the class to compute again, by rules that the classes of transformers follow and others
do not: there, such a buffer is whatever was in memory.
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
    """Put in what the constructor of the network's class computes from its configuration.

    Returns:
        The names of the tensors that were put in.
    """
    import torch

    network = loaded.network
    kept = network.state_dict(keep_vars=True)
    wanted = {name for name, _ in network.named_buffers(remove_duplicate=False) if name not in kept}
    # A buffer of numbers that files could hold: computed too, unless it was learned, as statistics are.
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
            f"{type(network).__name__} was loaded without the buffers that it computes: {', '.join(sorted(changed))}.",
            file=sys.stderr,
        )
    return restored


def _put(network: Any, name: str, value: Any) -> bool:
    """Replace a buffer, and return whether it was another one."""
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
    """Have parameters let go of their memory as soon as a module registers them; buffers keep theirs."""
    import torch

    register = torch.nn.Module.register_parameter

    def register_empty(module: Any, name: str, parameter: Any) -> None:
        if parameter is not None and not parameter.is_meta:
            kind, needs = type(parameter), parameter.requires_grad
            parameter = kind(parameter.detach().to("meta"), requires_grad=needs)
        register(module, name, parameter)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.nn.Module, "register_parameter", register_empty))
        for name in DRAWS:  # torch computes shapes and types of what it would draw, slowly
            draw = _unless_empty(getattr(torch.Tensor, name))
            stack.enter_context(mock.patch.object(torch.Tensor, name, draw))
        yield


def _unless_empty(draw: Callable[..., Any]) -> Callable[..., Any]:
    return lambda tensor, *arguments, **options: tensor if tensor.is_meta else draw(tensor, *arguments, **options)
