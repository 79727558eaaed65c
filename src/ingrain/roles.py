"""The roles of graphs in a model, with their properties for queues, engines and tunings."""

from __future__ import annotations

from dataclasses import dataclass

from ingrain.vocabulary import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """Properties that all graphs of a role share.

    Attributes:
        tuned_batch_items: Batch sizes that a tuning tries.
        item_tokens: Tokens that a queue counts for one item; None for token sequences, ``[B, T]``, which count as many
            tokens as they have.
        disabled_cpu_optimizers: ONNX Runtime's graph optimizers that make graphs of this role slower on a CPU.
    """

    tuned_batch_items: tuple[int, ...]
    item_tokens: int | None
    disabled_cpu_optimizers: tuple[str, ...] = ()

    @property
    def takes_token_sequences(self) -> bool:
        """Whether inputs are token sequences of any length; otherwise all items have the same shape."""
        return self.item_tokens is None

    def batch_tokens(self, max_items: int, max_tokens: int) -> int:
        """Return the token limit of a batch: ``max_tokens``, or the tokens of ``max_items`` items of fixed size."""
        return max_tokens if self.item_tokens is None else self.item_tokens * max_items


# About as many tokens as a vision transformer makes from an image.
_IMAGE_TOKENS = 256
_IMAGE_BATCHES = (2, 4, 8, 16, 32, 64)

ROLES: dict[Role, RoleSpec] = {
    "text_encoder": RoleSpec(
        item_tokens=None,
        tuned_batch_items=(8, 16, 32, 64),
        # On a CPU the fused operator is slower than Add and LayerNormalization.
        disabled_cpu_optimizers=("SkipLayerNormFusion",),
    ),
    "image_encoder": RoleSpec(item_tokens=_IMAGE_TOKENS, tuned_batch_items=_IMAGE_BATCHES),
    "classifier": RoleSpec(item_tokens=_IMAGE_TOKENS, tuned_batch_items=_IMAGE_BATCHES),
}
"""Every role.

A graph's first output has one row for each item. Triton needs an axis besides the batch axis: ``[B, 1]`` for a score.
"""
