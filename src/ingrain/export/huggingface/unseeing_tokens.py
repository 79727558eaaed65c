"""Gives tokens that see no other token the same attention in a graph as in the source library: none.

Where a mask hides every token from a token, torch's attention returns zeros for it. Computed operator by operator, as a
graph does, the softmax would weigh all tokens alike. Such tokens are those of a query's expansion that the network does
not attend to, further from the text than the window of local attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_NAME = "eager_with_zeros"


def attend_with_zeros(network: Any) -> None:
    """Switch a network of transformers to an attention that can be exported and gives such tokens zeros."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, eager_mask)
    network.set_attn_implementation(_NAME)


def window_of(network: Any) -> int | None:
    """Return how many tokens a network's local attention sees to each side; None if all its layers see all tokens."""
    config = network.config
    is_local = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    return int(config.sliding_window) if is_local and getattr(config, "sliding_window", None) else None


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Compute attention for float32 ``[B, heads, T, D]``; the mask is added to the scores, ``[B, 1, T, T]``."""
    del module
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is None:
        weights = scores.softmax(dim=-1)
    else:
        sees = attention_mask.amax(dim=-1, keepdim=True) > torch.finfo(attention_mask.dtype).min / 2
        weights = (scores + attention_mask).softmax(dim=-1) * sees.to(scores.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights
