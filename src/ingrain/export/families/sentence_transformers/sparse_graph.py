"""Builds exportable torch modules for sparse encoders: token ids in, a weight for each dimension out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ingrain.export.families.sentence_transformers.text_graph import (
    PipelineGraph,
    TransformerEncoder,
    build_pipeline,
    step_of,
    text_encoder,
)
from ingrain.export.onnx.pooling import first_token

# Columns of the vocabulary that are multiplied at a time, at least: so many logits of 512 tokens stay in a core's
# cache. Two batches at once of BERT's vocabulary were twice as fast with 512 columns as with 4096. More than so many
# parts, for the vocabularies of multilingual networks, would cost short texts more than they save.
_COLUMNS, _MOST_PARTS = 512, 64


class SpladeGraph(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """A masked language model and ``SpladePooling`` (6.2) as one function of tensors.

    With ``split_head`` the last layer of the network, which makes the logits of the vocabulary, is computed here: some
    columns at a time and, for the pooling ``max``, with bias and logarithms after the maximum, which is the same. The
    layer is removed from the network.

    Args:
        encoder: Calls the network.
        network: The network.
        pooling: The source's module.
        split_head: False to take the network's own logits.
    """

    def __init__(self, encoder: TransformerEncoder, network: Any, pooling: Any, *, split_head: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.strategy = pooling.pooling_strategy
        self.logarithms = 2 if pooling.activation_function == "log1p_relu" else 1
        self.columns = nn.ParameterList()
        self.biases = nn.ParameterList()
        if split_head:
            self._take_head(network)

    def _take_head(self, network: Any) -> None:
        head = network.get_output_embeddings()
        parent, _, name = next(name for name, module in network.named_modules() if module is head).rpartition(".")
        setattr(network.get_submodule(parent), name, nn.Identity())
        bias = head.bias if head.bias is not None else torch.zeros(head.out_features)
        columns = max(_COLUMNS, math.ceil(head.out_features / _MOST_PARTS))
        for rows, part in zip(head.weight.split(columns), bias.split(columns), strict=True):
            self.columns.append(nn.Parameter(rows.detach().t().contiguous(), requires_grad=False))
            self.biases.append(nn.Parameter(part.detach().clone(), requires_grad=False))

    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add ``sentence_embedding``, float32 ``[B, V]``."""
        states = self.encoder(given)[self.encoder.feature]
        mask = given["attention_mask"]
        if self.strategy == "max":
            # Padding repeats the first token, so that it does not change the largest logits.
            states = torch.where(mask.unsqueeze(-1) == 0, first_token(states, mask), states)
            parts = [(states @ columns).amax(dim=1) + bias for columns, bias in self._head()]
            weights = self._activate(torch.cat(parts, dim=1) if parts else states.amax(dim=1))
        else:
            counted = mask.unsqueeze(1).to(states.dtype)
            parts = [counted @ self._activate(states @ columns + bias) for columns, bias in self._head()]
            weights = (torch.cat(parts, dim=2) if parts else counted @ self._activate(states)).squeeze(1)
        return {**given, "sentence_embedding": weights}

    def _head(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.columns, self.biases, strict=True))

    def _activate(self, logits: Tensor) -> Tensor:
        weights = logits.relu()
        for _ in range(self.logarithms):
            weights = weights.log1p()
        return weights


class TokenWeights(nn.Module):  # type: ignore[misc]  # as above
    """``SparseStaticEmbedding``: the stored weight of each token of a text, once."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Set ``sentence_embedding``, float32 ``[B, V]``, or multiply it if a module before has set it."""
        ids, mask = features["input_ids"], features["attention_mask"].to(self.weight.dtype)
        none = torch.zeros(ids.shape[0], self.weight.shape[0], dtype=mask.dtype)
        # The maximum, because the id of padding may be a token of the text, too.
        weights = none.scatter_reduce(1, ids, mask, "amax") * self.weight
        before = features.get("sentence_embedding")
        return {**features, "sentence_embedding": weights if before is None else weights * before}


class SparseCode(nn.Module):  # type: ignore[misc]  # as above
    """``SparseAutoEncoder`` (6.2): the largest latents of a vector.

    Args:
        module: The source's module.
        active: Number of latents to keep.
    """

    def __init__(self, module: Any, active: int) -> None:
        super().__init__()
        self.module = module
        self.active = active

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replace ``sentence_embedding``, float32 ``[B, D]``, by the latents, ``[B, L]``."""
        vectors, _ = self.module.prepare(features["sentence_embedding"])
        latents = self.module.encode_pre_act(vectors)
        kept, places = torch.topk(latents, self.active, dim=-1)
        return {**features, "sentence_embedding": torch.zeros_like(latents).scatter(-1, places, kept.relu())}


def can_split_head(module: Any) -> bool:
    """Return True if the logits of a ``Transformer`` come from one linear layer at the end of its network."""
    return type(module.model.get_output_embeddings()) is nn.Linear


def build_sparse_graph(modules: list[Any], max_active_dims: int | None, *, split_head: bool = False) -> PipelineGraph:
    """Build the graph of a sparse encoder's modules, which gives a weight for each dimension; it shares the weights.

    Args:
        modules: The modules that texts of one kind pass through.
        max_active_dims: Largest number of weights of a text; None for the model's own.
        split_head: As for ``SpladeGraph``, which then changes the network.

    Raises:
        UnsupportedModelError: A module or option is not supported.
    """

    def step(module: Any) -> nn.Module:
        kind = type(module).__name__
        if kind == "SparseAutoEncoder":
            return SparseCode(module, max_active_dims or module.k)
        return TokenWeights(module.weight) if kind == "SparseStaticEmbedding" else step_of(module)

    first, *rest = modules
    if type(first).__name__ == "SparseStaticEmbedding":
        inputs: tuple[str, ...] = ("input_ids", "attention_mask")
        return PipelineGraph(TokenWeights(first.weight), [step(module) for module in rest], inputs, None)
    if rest and type(rest[0]).__name__ == "SpladePooling":
        encoder = text_encoder(first)
        inputs = tuple(dict.fromkeys((*encoder.arguments, "attention_mask")))
        graph = SpladeGraph(encoder, first.model, rest[0], split_head=split_head)
        return PipelineGraph(graph, [step(module) for module in rest[1:]], inputs, None)
    return build_pipeline(modules, step, None)
