"""Replaces mixtures of experts by an exportable form that computes every expert.

A router chooses some experts for each token, which the ONNX exporters cannot follow. The sum over all experts, with
zero weights for the experts that were not chosen, is the same value, but costs the computation of all experts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class AllExperts(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """Replaces the experts of one layer; holds one linear layer per matrix.

    Args:
        experts: A module that transformers' ``use_experts_implementation`` has decorated.
    """

    def __init__(self, experts: Any) -> None:
        super().__init__()
        first = experts.gate_up_proj if experts.has_gate else experts.up_proj
        bias = getattr(experts, "gate_up_proj_bias" if experts.has_gate else "up_proj_bias", None)
        self.first = _linears(first, bias if experts.has_bias else None, transposed=experts.is_transposed)
        last_bias = experts.down_proj_bias if experts.has_bias else None
        self.last = _linears(experts.down_proj, last_bias, transposed=experts.is_transposed)
        # Taken from the source as they are; only the norm has weights.
        self.activate = experts._apply_gate if experts.has_gate else experts.act_fn
        self.norm = experts.post_expert_norm if experts.has_post_expert_norm else nn.Identity()

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Compute the sum of experts, float32 ``[N, H]``.

        Args:
            hidden_states: float32 ``[N, H]``, one row per token.
            top_k_index: int64 ``[N, k]``, the chosen experts.
            top_k_weights: float32 ``[N, k]``, their weights.
        """
        weights = weights_of_all(top_k_index, top_k_weights, len(self.first))
        total = torch.zeros_like(hidden_states)
        for number, (first, last) in enumerate(zip(self.first, self.last, strict=True)):
            total = total + self.norm(last(self.activate(first(hidden_states)))) * weights[:, number : number + 1]
        return total


class AllNomicExperts(AllExperts):
    """Replaces the experts of nomic-embed-text-v2-moe, whose class comes with the model.

    Args:
        experts: A module with ``mlp.w1``, ``mlp.w2`` (the experts' matrices stacked), ``mlp.activation_fn``, ``bias``.
    """

    def __init__(self, experts: Any) -> None:
        nn.Module.__init__(self)
        count = experts.moe_num_experts
        w1, w2 = (weight.reshape(count, -1, weight.shape[-1]) for weight in (experts.mlp.w1, experts.mlp.w2))
        self.first = _linears(w1, None, transposed=False)
        self.last = _linears(w2, None, transposed=True)
        self.activate = experts.mlp.activation_fn
        self.norm = nn.Identity()
        self.bias = experts.bias

    def forward(self, x: Tensor, _: Tensor, top_weights: Tensor, top_experts: Tensor) -> Tensor:  # type: ignore[override]  # nomic's signature
        """Compute the sum of experts for float32 ``[..., H]``; the weights of all experts (second input) are unused."""
        total = super().forward(x.reshape(-1, x.shape[-1]), top_experts, top_weights)
        return total.reshape(x.shape) + self.bias


def weights_of_all(index: Tensor, weights: Tensor, count: int) -> Tensor:
    """Return weights for all experts, zero for those not chosen: ``[N, count]`` from ``[N, k]`` indexes and weights."""
    numbers = torch.arange(count, device=index.device)
    chosen = (index.unsqueeze(-1) == numbers).to(weights.dtype)
    return (chosen * weights.unsqueeze(-1)).sum(dim=1)


def compute_all_experts(network: nn.Module) -> int:
    """Replace the network's modules of experts by ones that compute all experts; return how many were replaced."""
    found = 0
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if replacement := _replacement(child):
                setattr(parent, name, replacement)
                found += 1
    return found


def _replacement(module: Any) -> nn.Module | None:
    if hasattr(module, "_is_expert_parallel"):  # set by transformers' decorator
        return AllExperts(module)
    if type(module).__name__ == "NomicExperts":
        return AllNomicExperts(module)
    return None


def _linears(weights: Tensor, biases: Tensor | None, *, transposed: bool) -> nn.ModuleList:
    """Return one linear layer per expert.

    Args:
        weights: ``[E, out, in]``, or ``[E, in, out]`` if ``transposed``.
        biases: ``[E, out]``.
        transposed: Layout of the weights.
    """
    layers = nn.ModuleList()
    for number, weight in enumerate(weights.detach()):
        matrix = weight.T if transposed else weight
        layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=biases is not None, device="meta")
        layer.weight = nn.Parameter(matrix.contiguous(), requires_grad=False)
        if biases is not None:
            layer.bias = nn.Parameter(biases.detach()[number], requires_grad=False)
        layers.append(layer)
    return layers
