"""The special tokens that a tokenizer puts around a text, put around token ids that a caller made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer

from ingrain.repository.manifest import TextPreprocess

CutSide = Literal["left", "right"]

_PROBES = ("a", "1", "the", "。")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands before and behind a text's own tokens.

    Attributes:
        before: Ids that come first.
        behind: Ids that come last.
        type_ids: Token type ids of what comes first, of the text, and of what comes last.
        max_tokens: Longest sequence, special tokens included.
        cut_side: Where a text that is too long is cut, unless the caller says otherwise.
    """

    before: list[int]
    behind: list[int]
    type_ids: tuple[list[int], int, list[int]]
    max_tokens: int
    cut_side: CutSide

    @property
    def special_tokens(self) -> int:
        """How many tokens are put around a text."""
        return len(self.before) + len(self.behind)

    def put_around(self, row: Sequence[int], cut_side: CutSide | None = None) -> tuple[list[int], list[int], int]:
        """Complete token ids.

        Args:
            row: Ids of a text, with the special tokens around them or without.
            cut_side: Where to cut what is too long; the tokenizer's own side if None.

        Returns:
            Token ids and token type ids, at most ``max_tokens`` of each, and how many ids were cut off.
        """
        ids = list(row)
        first, end = len(self.before), len(ids) - len(self.behind)
        if first <= end and ids[:first] == self.before and ids[end:] == self.behind:
            ids = ids[first:end]
        return self.put_around_own(ids, cut_side)

    def put_around_own(self, ids: list[int], cut_side: CutSide | None = None) -> tuple[list[int], list[int], int]:
        """Do what ``put_around`` does for ids that have no special tokens around them."""
        room = max(0, self.max_tokens - self.special_tokens)
        cut = max(0, len(ids) - room)
        ids = ids[cut:] if (cut_side or self.cut_side) == "left" else ids[: len(ids) - cut]
        before, own, behind = self.type_ids
        return [*self.before, *ids, *self.behind], [*before, *[own] * len(ids), *behind], cut


def read_frame(tokenizer: Tokenizer, config: TextPreprocess) -> Frame:
    """Find out what a tokenizer puts around texts, by giving it one.

    Args:
        tokenizer: With its truncation switched on.
        config: The model's rules.
    """
    before: list[int] = []
    behind: list[int] = []
    type_ids: tuple[list[int], int, list[int]] = ([], 0, [])
    for probe in _PROBES:
        found = tokenizer.encode(probe, add_special_tokens=config.add_special_tokens)
        own = [place for place, special in enumerate(found.special_tokens_mask) if not special]
        if own:
            start, stop = own[0], own[-1] + 1
            before, behind = found.ids[:start], found.ids[stop:]
            type_ids = (found.type_ids[:start], found.type_ids[start], found.type_ids[stop:])
            break
    cuts = tokenizer.truncation
    side: CutSide = "left" if cuts is not None and cuts["direction"] == "left" else "right"
    return Frame(before=before, behind=behind, type_ids=type_ids, max_tokens=config.max_tokens, cut_side=side)
