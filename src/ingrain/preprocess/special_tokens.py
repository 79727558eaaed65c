"""Finds the special tokens of a tokenizer, and adds them to token ids that a caller sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from tokenizers import Tokenizer

from ingrain.preprocess.id_bytes import ID_BYTES
from ingrain.preprocess.tokenized import ExpandedText, TokenizedText
from ingrain.repository.manifest import TextPreprocess

CutSide = Literal["left", "right"]

_PROBES = ("a", "1", "the", "。")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """The special tokens before and after the tokens of a text.

    Attributes:
        prefix: Ids before the text.
        suffix: Ids after the text.
        type_ids: Token type ids of the prefix, of the text, and of the suffix.
        max_tokens: Limit of a sequence, including special tokens.
        cut_side: Default side on which a text that is too long is cut.
    """

    prefix: list[int]
    suffix: list[int]
    type_ids: tuple[list[int], int, list[int]]
    max_tokens: int
    cut_side: CutSide

    @property
    def count(self) -> int:
        """Number of special tokens in a sequence."""
        return len(self.prefix) + len(self.suffix)

    def add(self, row: Sequence[int], cut_side: CutSide | None = None) -> tuple[list[int], list[int], int]:
        """Add the special tokens to the ids of a text, and cut the result to ``max_tokens``.

        Args:
            row: Ids of the text, with or without special tokens.
            cut_side: Side to cut; the tokenizer's own side if None.

        Returns:
            Token ids, token type ids (at most ``max_tokens`` each), and the number of ids that were cut off.
        """
        ids = list(row)
        first, end = len(self.prefix), len(ids) - len(self.suffix)
        if first <= end and ids[:first] == self.prefix and ids[end:] == self.suffix:
            ids = ids[first:end]
        return self.add_to_bare(ids, cut_side)

    def add_to_bare(self, ids: list[int], cut_side: CutSide | None = None) -> tuple[list[int], list[int], int]:
        """Add special tokens as ``add`` does, to ids without special tokens."""
        room = max(0, self.max_tokens - self.count)
        cut = max(0, len(ids) - room)
        ids = ids[cut:] if (cut_side or self.cut_side) == "left" else ids[: len(ids) - cut]
        before, own, after = self.type_ids
        return [*self.prefix, *ids, *self.suffix], [*before, *[own] * len(ids), *after], cut

    def shorten(self, text: TokenizedText, most: int, cut_side: CutSide | None = None) -> TokenizedText:
        """Cut a tokenized text to fewer tokens than ``max_tokens``, as a tokenizer with that limit does.

        Args:
            text: The text, with special tokens. One that was expanded stays as it is: it always has its length.
            most: Most tokens of the result, including special tokens; more than their number.
            cut_side: Side to cut; the tokenizer's own side if None.
        """
        excess = len(text) - most
        if excess <= 0 or (isinstance(text, ExpandedText) and text.expansion_tokens):
            return text
        is_left = (cut_side or self.cut_side) == "left"
        first = len(self.prefix) if is_left else len(text) - len(self.suffix) - excess

        def without(packed: bytes, size: int) -> bytes:
            return packed[: size * first] + packed[size * (first + excess) :]

        changed = {
            "packed_ids": without(text.packed_ids, ID_BYTES),
            "packed_type_ids": without(text.packed_type_ids, ID_BYTES),
            "cut_tokens": text.cut_tokens + excess,
        }
        if isinstance(text, ExpandedText):
            changed["kept"] = without(text.kept, 1)
        return msgspec.structs.replace(text, **changed)


def find_special_tokens(tokenizer: Tokenizer, config: TextPreprocess) -> SpecialTokens:
    """Find a tokenizer's special tokens by encoding a short text.

    Args:
        tokenizer: The tokenizer, with truncation enabled.
        config: The model's text rules.
    """
    prefix: list[int] = []
    suffix: list[int] = []
    type_ids: tuple[list[int], int, list[int]] = ([], 0, [])
    for probe in _PROBES:
        found = tokenizer.encode(probe, add_special_tokens=config.add_special_tokens)
        own = [place for place, special in enumerate(found.special_tokens_mask) if not special]
        if own:
            start, stop = own[0], own[-1] + 1
            prefix, suffix = found.ids[:start], found.ids[stop:]
            type_ids = (found.type_ids[:start], found.type_ids[start], found.type_ids[stop:])
            break
    cuts = tokenizer.truncation
    side: CutSide = "left" if cuts is not None and cuts["direction"] == "left" else "right"
    return SpecialTokens(prefix=prefix, suffix=suffix, type_ids=type_ids, max_tokens=config.max_tokens, cut_side=side)
