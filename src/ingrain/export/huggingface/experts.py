"""Replaces mixtures of experts by one expression on tensors, in which every expert is computed.

Which experts a token meets depends on the token, and an exporter cannot follow that. The sum over all experts, each
with the weight that the router gave it or with zero, is the same number, at the price of computing all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class AllExperts(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """The experts of one layer in the place of transformers' own, taken apart into plain matrices.

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
        # Methods and modules of the source without weights of their own, but for the norm.
        self.activate = experts._apply_gate if experts.has_gate else experts.act_fn
        self.norm = experts.post_expert_norm if experts.has_post_expert_norm else nn.Identity()

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Compute the sum of experts, float32 ``[N, H]``.

        Args:
            hidden_states: float32 ``[N, H]``, one row a token.
            top_k_index: int64 ``[N, k]``, the experts chosen.
            top_k_weights: float32 ``[N, k]``, their weights.
        """
        weights = weights_of_all(top_k_index, top_k_weights, len(self.first))
        total = torch.zeros_like(hidden_states)
        for number, (first, last) in enumerate(zip(self.first, self.last, strict=True)):
            total = total + self.norm(last(self.activate(first(hidden_states)))) * weights[:, number : number + 1]
        return total


class AllNomicExperts(AllExperts):
    """The experts of nomic-embed-text-v2-moe, whose class comes with the model.

    Args:
        experts: A module with ``mlp.w1``, ``mlp.w2`` (experts one below the other), ``mlp.activation_fn``, ``bias``.
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

    def forward(self, x: Tensor, _: Tensor, top_weights: Tensor, top_experts: Tensor) -> Tensor:  # type: ignore[override]  # as it is called
        """Compute the sum of experts for float32 ``[..., H]``; the weights before the choice are not needed."""
        total = super().forward(x.reshape(-1, x.shape[-1]), top_experts, top_weights)
        return total.reshape(x.shape) + self.bias


def weights_of_all(index: Tensor, weights: Tensor, count: int) -> Tensor:
    """Spread the weights of the chosen experts over all, zero for the rest: ``[N, k]`` twice to ``[N, count]``."""
    numbers = torch.arange(count, device=index.device)
    chosen = (index.unsqueeze(-1) == numbers).to(weights.dtype)
    return (chosen * weights.unsqueeze(-1)).sum(dim=1)


def compute_all_experts(network: nn.Module) -> int:
    """Put modules that compute all experts in the place of those that choose, and return how many there were."""
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
    """Return one linear layer an expert.

    Args:
        weights: ``[E, out, in]``, or ``[E, in, out]`` where ``transposed``.
        biases: ``[E, out]``.
        transposed: How the weights lie.
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
