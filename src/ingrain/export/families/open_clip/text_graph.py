"""Builds torch modules from token ids to the vector of an OpenCLIP text tower, the cheapest first."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ingrain.export.families.protocol import Candidate
from ingrain.export.families.towers import PLAIN_RECIPES, transformer_recipes
from ingrain.export.model_files import unsupported
from ingrain.export.onnx.pooling import pool


def text_candidates(model: Any) -> tuple[Candidate, ...]:
    """Return the ways to export the text tower of a model, best first.

    Where no token sees what comes after it and the vector is taken at the end token, padding cannot matter, so that the
    graph takes any length. Where padding takes part (SigLIP, CLIPA, MobileCLIP-S), it must be as long as in training.

    Raises:
        UnsupportedModelError: The tower gives no single vector.
    """
    tower = text_tower(model)
    if is_hugging_face(tower):
        recipes = transformer_recipes(tower.transformer)
        return tuple(Candidate(recipe=recipe, build=partial(_hugging_face, recipe.attention)) for recipe in recipes)
    pool_type = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
    if pool_type not in ("argmax", "eos", "first", "last"):
        raise unsupported(f"The text tower's pooling {pool_type!r} is not known to Ingrain.")
    dynamo, _ = PLAIN_RECIPES
    whole = tuple(Candidate(recipe=recipe, build=WholeText, fixed_length=True) for recipe in PLAIN_RECIPES)
    if getattr(tower, "attn_mask", None) is None:
        return whole
    if getattr(tower, "cls_emb", None) is not None:
        return whole if tower.correct_cls_mask else (Candidate(recipe=dynamo, build=AppendedTokenText), *whole)
    build = partial(CausalText, pool_type)
    return whole if pool_type == "last" else (Candidate(recipe=dynamo, build=build), *whole)


def text_tower(model: Any) -> Any:
    """Return the module that holds the text tower's parts: a tower of its own, or the model itself in plain CLIP."""
    return getattr(model, "text", model)


def is_hugging_face(tower: Any) -> bool:
    """Return True for a text tower of transformers."""
    return type(tower).__name__ == "HFTextEncoder"


class _TowerGraph(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """A text tower of an OpenCLIP model, whose weights it shares."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.tower: Any = text_tower(model)
        self.eval()


class CausalText(_TowerGraph):
    """CLIP's own text transformer at any length, for causal attention and a vector taken at one token."""

    def __init__(self, pool_type: str, model: nn.Module) -> None:
        super().__init__(model)
        self.pool_type = pool_type
        self.end_id = getattr(self.tower, "text_eos_id", getattr(self.tower, "eos_id", None))
        self.register_buffer("mask", self.tower.attn_mask.clone())

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute text vectors, float32 ``[B, D]``, from ids, int64 ``[B, T]``."""
        (ids,) = tensors
        length = ids.shape[1]
        tokens = self.tower.token_embedding(ids) + self.tower.positional_embedding[:length]
        tokens = self.tower.transformer(tokens, attn_mask=self.mask[:length, :length])
        return _project(self.tower, self._pool(self.tower.ln_final(tokens), ids))

    def _pool(self, tokens: Tensor, ids: Tensor) -> Tensor:
        if self.pool_type == "first":
            return tokens[:, 0]
        # The first of several, as argmax has it in torch: a user may type the end token.
        end = ids.amax(dim=1, keepdim=True) if self.pool_type == "argmax" else self.end_id
        at_end = (ids == end).to(torch.int64)
        return pool(tokens, at_end, at_end, ("cls",))


class AppendedTokenText(_TowerGraph):
    """CoCa's text transformer at any length: its class token comes after the padding, at a position of its own.

    The source masks padding with a mask that is one place late: the first padding counts, and the class token sees
    itself only in a text that fills the context. So one padding token goes behind the given ids here, and it and the
    class token take turns.
    """

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute text vectors, float32 ``[B, D]``, from ids, int64 ``[B, T]``."""
        (ids,) = tensors
        tower, context = self.tower, self.tower.context_length
        padding = torch.full_like(ids[:, :1], tower.pad_id)
        with_padding = torch.cat([ids, padding], dim=1)
        width = with_padding.shape[1] + 1
        positions = torch.arange(width - 1).clamp(max=context - 1)
        tokens = tower.token_embedding(with_padding) + tower.positional_embedding[positions]
        # [1, D] times ones: a batch of class tokens without a size that could be fixed.
        last = (tower.cls_emb + tower.positional_embedding[context]) * torch.ones_like(tokens[:, :1])
        tokens = tower.transformer(torch.cat([tokens, last], dim=1), attn_mask=self._mask(ids, width))
        return _project(tower, tower.ln_final(tokens[:, -1]))

    def _mask(self, ids: Tensor, width: int) -> Tensor:
        """Return the additive mask, float32 ``[B * heads, width, width]``."""
        context = self.tower.context_length
        is_text = (ids != self.tower.pad_id).to(torch.float32)
        is_full = (torch.arange(width)[-1:] > context).to(torch.float32)
        before = torch.ones_like(is_text[:, :1])
        ends = is_text[:, -1:]
        seen = torch.cat([before, is_text[:, :-1], ends * (1 - is_full), ends * is_full], dim=1)
        hidden = torch.zeros_like(seen).masked_fill(seen == 0, float("-inf"))
        # The source's causal mask has context + 1 rows, and a full text with both tokens behind it one more.
        causal = torch.full((width, width), float("-inf")).triu(1)
        mask = causal.unsqueeze(0) + hidden.unsqueeze(1)
        return mask.repeat_interleave(self.tower.heads, dim=0)


class WholeText(nn.Module):  # type: ignore[misc]  # as above
    """The source's own text tower at its full context length."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute text vectors, float32 ``[B, D]``, from ids, int64 ``[B, T]`` with ``T`` the context length."""
        (ids,) = tensors
        vectors: Tensor = self.model.encode_text(ids, normalize=False)
        return vectors


class HuggingFaceText(_TowerGraph):
    """A text tower of transformers (``HFTextEncoder``), which masks its padding, so that any length will do."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute text vectors, float32 ``[B, D]``, from ids, int64 ``[B, T]``."""
        (ids,) = tensors
        mask = (ids != self.tower.config.pad_token_id).to(torch.int64)
        output = self.tower.transformer(input_ids=ids, attention_mask=mask)
        vectors: Tensor = self.tower.proj(self.tower.pooler(output, mask))
        return vectors


def _hugging_face(attention: str | None, model: Any) -> HuggingFaceText:
    text_tower(model).transformer.set_attn_implementation(attention)
    return HuggingFaceText(model)


def _project(tower: Any, vectors: Tensor) -> Tensor:
    projection = tower.text_projection
    if projection is None:
        return vectors
    return projection(vectors) if isinstance(projection, nn.Linear) else vectors @ projection
