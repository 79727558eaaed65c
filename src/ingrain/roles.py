"""The roles that a graph can have in a model, and what queues, engines and tunings need to know of each."""

from __future__ import annotations

from dataclasses import dataclass

from ingrain.vocabulary import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """What is the same for all graphs of one role.

    Attributes:
        tuned_batch_items: Batch sizes that a tuning tries.
        item_tokens: Tokens that one item counts for in a queue; None where the inputs are token sequences, ``[B, T]``,
            and each item counts its own.
        disabled_cpu_optimizers: ONNX Runtime's graph optimizers that make a graph of this role slower on a CPU.
    """

    tuned_batch_items: tuple[int, ...]
    item_tokens: int | None
    disabled_cpu_optimizers: tuple[str, ...] = ()

    @property
    def takes_token_sequences(self) -> bool:
        """True where inputs are token sequences of any length; else an item's inputs have one fixed shape."""
        return self.item_tokens is None

    def batch_tokens(self, max_items: int, max_tokens: int) -> int:
        """Return the token limit of a batch: ``max_tokens``, or what ``max_items`` items of fixed size count for."""
        return max_tokens if self.item_tokens is None else self.item_tokens * max_items


# About the tokens that a vision transformer makes of an image.
_IMAGE_TOKENS = 256
_IMAGE_BATCHES = (2, 4, 8, 16, 32, 64)

ROLES: dict[Role, RoleSpec] = {
    "text_encoder": RoleSpec(
        item_tokens=None,
        tuned_batch_items=(8, 16, 32, 64),
        # On a CPU the fused operator is slower than the Add and LayerNormalization that it replaces.
        disabled_cpu_optimizers=("SkipLayerNormFusion",),
    ),
    "image_encoder": RoleSpec(item_tokens=_IMAGE_TOKENS, tuned_batch_items=_IMAGE_BATCHES),
    "classifier": RoleSpec(item_tokens=_IMAGE_TOKENS, tuned_batch_items=_IMAGE_BATCHES),
}
"""Every role.

A graph's first output has one row an item, and an axis beside the batch's, as Triton wants: ``[B, 1]`` for a score.
"""
