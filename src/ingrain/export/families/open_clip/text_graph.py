"""Builds exportable torch modules for OpenCLIP text towers: token ids in, one vector out."""

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
    """Return the ways to export a model's text tower, best first.

    With causal attention and pooling at the end token, padding cannot change the vector, so the graph accepts any
    length. In towers where padding affects the vector (SigLIP, CLIPA, MobileCLIP-S), texts are padded to the context
    length, as in training.

    Raises:
        UnsupportedModelError: The tower's pooling is not supported.
    """
    tower = text_tower(model)
    if is_hugging_face(tower):
        recipes = transformer_recipes(tower.transformer)
        return tuple(Candidate(recipe=recipe, build=partial(_hugging_face, recipe.attention)) for recipe in recipes)
    pool_type = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
    if pool_type not in ("argmax", "eos", "first", "last"):
        raise unsupported(f"The text tower's pooling {pool_type!r} is not supported.")
    dynamo, _ = PLAIN_RECIPES
    whole = tuple(Candidate(recipe=recipe, build=WholeText, fixed_length=True) for recipe in PLAIN_RECIPES)
    if getattr(tower, "attn_mask", None) is None:
        return whole
    if getattr(tower, "cls_emb", None) is not None:
        return whole if tower.correct_cls_mask else (Candidate(recipe=dynamo, build=AppendedTokenText), *whole)
    build = partial(CausalText, pool_type)
    return whole if pool_type == "last" else (Candidate(recipe=dynamo, build=build), *whole)


def text_tower(model: Any) -> Any:
    """Return the module with the text tower's parts; in plain CLIP that is the model itself."""
    return getattr(model, "text", model)


def is_hugging_face(tower: Any) -> bool:
    """Return True for a text tower of transformers."""
    return type(tower).__name__ == "HFTextEncoder"


class _TowerGraph(nn.Module):  # type: ignore[misc]  # torch has no types here, so its classes are Any
    """Base of the text graphs; shares the weights of the model's text tower."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.tower: Any = text_tower(model)
        self.eval()


class CausalText(_TowerGraph):
    """CLIP's text transformer at any length, for causal attention and pooling at one token."""

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
        # A user may type the end token; like torch's argmax, take the first one.
        end = ids.amax(dim=1, keepdim=True) if self.pool_type == "argmax" else self.end_id
        at_end = (ids == end).to(torch.int64)
        return pool(tokens, at_end, at_end, ("cls",))


class AppendedTokenText(_TowerGraph):
    """CoCa's text transformer at any length; its class token follows the padding and has its own position.

    OpenCLIP's padding mask is shifted by one position: the first padding token is attended to, and the class token
    attends to itself only if the text fills the context. This module appends one padding token to the ids and masks
    either that token or the class token.
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
        # Multiplying [1, D] by ones gives a batch of class tokens without fixing the batch size.
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
        # Not the source's causal mask: it has context + 1 rows, one too few for a full text and both tokens.
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
    """A text tower of transformers (``HFTextEncoder``) at any length; it masks its padding."""

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
