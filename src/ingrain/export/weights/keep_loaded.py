"""Keeps the code of a model from overwriting tensors that were loaded from its files.

transformers asks that code (``_init_weights``) again for every module of which anything is not from a file, and a
buffer that is computed is enough. The code was written for a new network and may set all that the module and its
children have: zeros in a bias, for instance, which are the same in every load, so that a second one would not tell.
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
    """Have code that comes with a model see tensors without memory in place of those that files gave."""
    modeling = sys.modules.get("transformers.modeling_utils")  # whoever uses it has imported it
    if modeling is None:
        yield
        return
    with mock.patch.object(modeling.PreTrainedModel, _STEP, _keeping(getattr(modeling.PreTrainedModel, _STEP))):
        yield


def _keeping(initialize: Any) -> Any:
    def keep(network: Any, *arguments: Any, **options: Any) -> None:
        if not network.is_custom_code():  # transformers' own classes ask each tensor before they set it
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
