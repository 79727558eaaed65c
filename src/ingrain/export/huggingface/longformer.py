"""Replaces Longformer's chunked attention by dense attention that is masked to the window.

Longformer's code cuts texts into chunks, whose number the export would fix. Dense attention that masks all tokens
outside the window gives the same values, but needs memory quadratic in the length. It needs no padding to a multiple of
the window, because padding is masked. sentence-transformers uses no global attention.
"""

from __future__ import annotations

import math
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


def widen_attention(network: nn.Module) -> bool:
    """Make a Longformer compute dense attention; return False if the network is not a Longformer."""
    if type(network).__name__ != "LongformerModel":
        return False
    model: Any = network
    for layer in model.encoder.layer:
        layer.attention.self.forward = MethodType(_attend, layer.attention.self)
    model.forward = MethodType(_embed, model)
    return True


def _embed(
    model: Any, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any
) -> Any:
    """Compute ``LongformerModel.forward`` without chunks: ``last_hidden_state`` and every layer's ``hidden_states``."""
    from transformers.modeling_outputs import BaseModelOutput

    if token_type_ids is None:
        token_type_ids = torch.zeros_like(input_ids)
    state = model.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    states = [state]
    for layer in model.encoder.layer:
        state = layer(state, attention_mask=attention_mask)[0]
        states.append(state)
    return BaseModelOutput(last_hidden_state=state, hidden_states=tuple(states))


def _attend(attention: Any, hidden_states: Tensor, attention_mask: Tensor, **_: Any) -> tuple[Tensor]:
    """Compute local attention for float32 ``[B, T, H]`` and an int64 mask ``[B, T]``, 1 for tokens."""
    batch, length, width = hidden_states.shape

    def heads(values: Tensor) -> Tensor:
        return values.view(batch, length, attention.num_heads, attention.head_dim).transpose(1, 2)

    query = heads(attention.query(hidden_states) / math.sqrt(attention.head_dim))
    key, value = heads(attention.key(hidden_states)), heads(attention.value(hidden_states))
    positions = torch.arange(length, device=hidden_states.device)
    near = (positions[:, None] - positions[None, :]).abs() <= attention.one_sided_attn_window_size
    seen = near & (attention_mask != 0)[:, None, None, :]
    scores = (query @ key.transpose(-1, -2)).masked_fill(~seen, torch.finfo(hidden_states.dtype).min)
    output = torch.softmax(scores, dim=-1) @ value
    return (output.transpose(1, 2).reshape(batch, length, width),)
