"""Prevents a model's custom code from overwriting tensors that were loaded from its files.

transformers calls the code's ``_init_weights`` for every module with a tensor that is not from a file; a computed
buffer suffices. The code is meant for new networks and may set all tensors of the module and its children, for example
biases to zero. This would be the same in every load, so comparing two loads would not detect it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

_STEP = "_initialize_missing_keys"


@contextmanager
def loaded_weights_kept() -> Iterator[None]:
    """Replace loaded tensors by meta tensors while custom code initializes a network."""
    modeling = sys.modules.get("transformers.modeling_utils")  # imported by now if it is used
    if modeling is None:
        yield
        return
    with mock.patch.object(modeling.PreTrainedModel, _STEP, _keeping(getattr(modeling.PreTrainedModel, _STEP))):
        yield


def _keeping(initialize: Any) -> Any:
    def keep(network: Any, *arguments: Any, **options: Any) -> None:
        if not network.is_custom_code():  # transformers' own classes skip loaded tensors
            initialize(network, *arguments, **options)
            return
        loaded = [
            (tensors, name, tensor)
            for module in network.modules()
            for tensors in (module._parameters, module._buffers)
            for name, tensor in tensors.items()
            if getattr(tensor, "_is_hf_initialized", False)
        ]
        for tensors, name, tensor in loaded:
            tensors[name] = _without_memory(tensor)
        try:
            initialize(network, *arguments, **options)
        finally:
            for tensors, name, tensor in loaded:
                tensors[name] = tensor

    return keep


def _without_memory(tensor: Any) -> Any:
    import torch

    empty = tensor.detach().to("meta")
    if isinstance(tensor, torch.nn.Parameter):
        empty = torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
    empty._is_hf_initialized = True
    return empty
