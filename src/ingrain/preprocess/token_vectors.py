"""Tokenizes texts of models with a vector for each token, and cuts a batch's vectors to those of each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ingrain.preprocess.id_bytes import pack_ids
from ingrain.preprocess.special_tokens import CutSide
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import ExpandedText, TokenizedText
from ingrain.repository.token_rules import TokenRules


class TokenVectorPreprocessor(TextPreprocessor):
    """Tokenizes the queries or the documents of a late-interaction model, by the ``token_rules`` of its text rules."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        cut_side: CutSide | None = None,
        counts_all: bool = True,
    ) -> list[TokenizedText]:
        """Tokenize texts as ``TextPreprocessor.encode`` does, then apply the rules."""
        items = super().encode(texts, prompt=prompt, cut_side=cut_side, counts_all=counts_all)
        return [apply_rules(item, self.config.token_rules) for item in items]

    def encode_many(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        cut_side: CutSide | None = None,
        counts_all: bool = True,
    ) -> Sequence[TokenizedText]:
        """Tokenize texts as ``encode`` does."""
        return self.encode(texts, prompt=prompt, cut_side=cut_side, counts_all=counts_all)

    def take_ids(
        self, rows: Sequence[Sequence[int]], *, name: Callable[[int], str], cut_side: CutSide | None = None
    ) -> list[TokenizedText]:
        """Check token ids as ``TextPreprocessor.take_ids`` does, then apply the rules."""
        items = super().take_ids(rows, name=name, cut_side=cut_side)
        return [apply_rules(item, self.config.token_rules) for item in items]


def apply_rules(item: TokenizedText, rules: TokenRules | None) -> TokenizedText:
    """Expand a text and mark the tokens whose vectors belong to the result."""
    if rules is None:
        return item
    added = max(0, rules.expand_to - len(item))
    packed = item.packed_ids + pack_ids([rules.expansion_id] * added)
    type_ids = item.packed_type_ids and item.packed_type_ids + pack_ids([0] * added)
    return ExpandedText(
        packed,
        type_ids,
        item.prompt_tokens,
        item.cut_tokens,
        expansion_tokens=added,
        attends_to_expansion=rules.attends_to_expansion,
        kept=_kept(np.frombuffer(packed, np.int64), rules),
    )


def _kept(ids: NDArray[np.int64], rules: TokenRules) -> bytes:
    """Return one byte for each id, 1 if the rules keep its vector; empty if they keep all."""
    kept = ~np.isin(ids, rules.dropped_ids)
    if rules.kept_ids is not None:
        kept &= np.isin(ids, rules.kept_ids)
    return b"" if kept.all() else kept.tobytes()


def keep_all(item: TokenizedText) -> TokenizedText:
    """Return a text whose result has the vectors of all its tokens, without those that were added."""
    if not isinstance(item, ExpandedText):
        return item
    kept = b"\1" * (len(item) - item.expansion_tokens) + b"\0" * item.expansion_tokens
    return ExpandedText(
        item.packed_ids,
        item.packed_type_ids,
        item.prompt_tokens,
        item.cut_tokens,
        expansion_tokens=item.expansion_tokens,
        attends_to_expansion=item.attends_to_expansion,
        kept=kept if item.expansion_tokens else b"",
    )


def skip_tokens(item: TokenizedText, count: int) -> TokenizedText:
    """Return a text whose result has the vectors of its tokens without the first ``count``."""
    kept = b"\0" * count + b"\1" * (len(item) - count)
    return ExpandedText(item.packed_ids, item.packed_type_ids, item.prompt_tokens, item.cut_tokens, kept=kept)


def vector_counts(items: Sequence[TokenizedText]) -> list[int]:
    """Return the number of vectors of each text."""
    return [item.vectors if isinstance(item, ExpandedText) else len(item) for item in items]


def cut_to_texts(
    vectors: NDArray[np.float32],
    items: Sequence[TokenizedText],
    padding_side: Literal["right", "left"],
    places: Sequence[int] | None = None,
) -> NDArray[Any]:
    """Cut a batch's vectors to those of each text, so that nobody holds those of padding and of dropped tokens.

    Args:
        vectors: A graph's output, ``float32 [B, T, D]``.
        items: The texts.
        padding_side: Side of the padding.
        places: Row of each text; None if text ``i`` has row ``i``.

    Returns:
        An array of objects, ``[N]``; each is a text's vectors, ``float32 [t, D]``, in the order of its tokens.
    """
    rows = np.empty(len(items), object)
    for index, item in enumerate(items):
        row = vectors[index if places is None else places[index]]
        own = row[len(row) - len(item) :] if padding_side == "left" else row[: len(item)]
        kept = item.kept if isinstance(item, ExpandedText) else b""
        rows[index] = own[np.frombuffer(kept, np.bool_)] if kept else own.copy()
    return rows


def token_counts(items: Sequence[TokenizedText]) -> list[int]:
    """Return the number of tokens of each text, without those that were added."""
    return [len(item) - (item.expansion_tokens if isinstance(item, ExpandedText) else 0) for item in items]
