"""The pooling modes of sentence-transformers, from token embeddings to one vector per text, written for export."""

from __future__ import annotations

import torch
from torch import Tensor


def pool(tokens: Tensor, attention_mask: Tensor, pooling_mask: Tensor, modes: tuple[str, ...]) -> Tensor:
    """Pool token embeddings as ``sentence_transformers``' ``Pooling`` (6.2) does, and concatenate the modes.

    There is no data-dependent control flow, so batch and length stay dynamic in the graph. Padding may be on either
    side.

    Args:
        tokens: float32 ``[B, T, H]``.
        attention_mask: int64 ``[B, T]``, 1 for tokens, 0 for padding.
        pooling_mask: int64 ``[B, T]``, 1 for tokens to pool: the attention mask, possibly without the prompt.
        modes: One or more of ``cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken``, in order.

    Returns:
        float32 ``[B, H * len(modes)]``.

    Raises:
        KeyError: An unknown mode.
    """
    vectors = [_MODES[mode](tokens, attention_mask, pooling_mask) for mode in modes]
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)


def first_token(tokens: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the first token of each text that is not padding, float32 ``[B, 1, H]``."""
    return _pick(tokens, _first(attention_mask)).unsqueeze(1)


def _cls(tokens: Tensor, _: Tensor, pooling_mask: Tensor) -> Tensor:
    return _pick(tokens, _first(pooling_mask))


def _last_token(tokens: Tensor, _: Tensor, pooling_mask: Tensor) -> Tensor:
    """Take the last token of the pooling mask; zeros if there is none."""
    width = tokens.shape[1]
    last = width - 1 - _first(pooling_mask.flip(1))
    # Without such a token, the source takes position 0 and multiplies it by the mask, which is zero.
    any_token = pooling_mask.sum(dim=1, keepdim=True).clamp(max=1)
    return _pick(tokens, last) * any_token.to(tokens.dtype)


def _max(tokens: Tensor, _: Tensor, pooling_mask: Tensor) -> Tensor:
    return tokens.masked_fill(pooling_mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _mean(tokens: Tensor, _: Tensor, pooling_mask: Tensor) -> Tensor:
    total, count = _sums(tokens, pooling_mask.to(tokens.dtype))
    return total / count


def _mean_sqrt_len(tokens: Tensor, _: Tensor, pooling_mask: Tensor) -> Tensor:
    total, count = _sums(tokens, pooling_mask.to(tokens.dtype))
    return total / torch.sqrt(count)


def _weighted_mean(tokens: Tensor, attention_mask: Tensor, pooling_mask: Tensor) -> Tensor:
    """Weight tokens by position, counted from the first token of the text, prompt included."""
    position = attention_mask.cumsum(dim=1)
    total, weight = _sums(tokens, (pooling_mask * position).to(tokens.dtype))
    return total / weight


def _sums(tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    total = (tokens * weights.unsqueeze(-1)).sum(dim=1)
    return total, weights.sum(dim=1, keepdim=True).clamp(min=1e-9)


def _first(mask: Tensor) -> Tensor:
    """Return the index of the first 1 of each row, ``int64 [B]``; 0 for rows without a 1."""
    # Not by ArgMax: ONNX leaves its choice among equal values open, and some engines have no ArgMax for int64.
    before = (mask.cumsum(dim=1) == 0).to(torch.int64).sum(dim=1)
    return before * mask.sum(dim=1).clamp(max=1)


def _pick(tokens: Tensor, index: Tensor) -> Tensor:
    """Take one token of each row: float32 ``[B, T, H]`` by int64 ``[B]`` to float32 ``[B, H]``."""
    wide = index.reshape(-1, 1, 1).expand(-1, 1, tokens.shape[2])
    return torch.gather(tokens, 1, wide).squeeze(1)


_MODES = {
    "cls": _cls,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last_token,
}
MODES = tuple(_MODES)
