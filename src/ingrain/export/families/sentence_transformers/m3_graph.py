"""Builds exportable torch modules for models of FlagEmbedding's M3 kind: one network, three outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ingrain.export.families.sentence_transformers.text_graph import PipelineGraph


class M3Heads(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """The two heads on the vectors of tokens, as FlagEmbedding's ``BGEM3FlagModel`` (1.4) computes them.

    Args:
        sparse: Linear layer to the weight of a token.
        multi_vector: Linear layer to the vector of a token.
        special_ids: Tokens without a weight: those for begin, end, padding and unknown.
    """

    def __init__(self, sparse: nn.Linear, multi_vector: nn.Linear, special_ids: tuple[int, ...]) -> None:
        super().__init__()
        self.sparse = sparse
        self.multi_vector = multi_vector
        self.special_ids = special_ids

    def forward(self, tokens: Tensor, ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the outputs of the heads.

        Args:
            tokens: The network's vectors of tokens, float32 ``[B, T, H]``.
            ids: int64 ``[B, T]``.
            attention_mask: int64 ``[B, T]``.

        Returns:
            The weight of each token, float32 ``[B, T]``, 0 for special tokens and padding; the tokens' ids, int32
            ``[B, T]``; the tokens' vectors at unit length, float32 ``[B, T, D]``, of which the first is not used.
        """
        weights = self.sparse(tokens).squeeze(-1).relu()
        is_counted = attention_mask != 0
        for special in self.special_ids:
            is_counted = is_counted & (ids != special)
        weights = torch.where(is_counted, weights, torch.zeros_like(weights))
        vectors = nn.functional.normalize(self.multi_vector(tokens), dim=-1)
        return weights, ids.to(torch.int32), vectors


class M3Graph(nn.Module):  # type: ignore[misc]  # as above
    """A network with its dense output and the two heads, as one function of tensors.

    Args:
        pipeline: The network, and the modules that make the dense vector.
        heads: The heads.
    """

    def __init__(self, pipeline: PipelineGraph, heads: M3Heads) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.heads = heads
        self.inputs = pipeline.inputs
        self.eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute all outputs.

        Args:
            *tensors: int64 ``[B, T]`` each, in the order of ``inputs``.

        Returns:
            The dense vector, float32 ``[B, D]``, and the outputs of ``M3Heads``.
        """
        features = self.pipeline.features(*tensors)
        tokens, ids, mask = (features[name] for name in ("token_embeddings", "input_ids", "attention_mask"))
        return (self.pipeline.vector(features), *self.heads(tokens, ids, mask))
