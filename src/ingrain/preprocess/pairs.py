"""Tokenizes pairs of texts as one sequence, as a cross-encoder reads them.

Each text is tokenized by itself and only once, however many pairs it is in; the special tokens around the two texts and
the truncation are those of the tokenizer. Every export compares the result with the source's tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer

from ingrain.errors import RepositoryError
from ingrain.preprocess.id_bytes import ID_BYTES, pack_ids
from ingrain.preprocess.special_tokens import CutSide
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText

PairCut = Literal["longest_first", "only_first"]
"""Which text of a pair is cut if the pair is too long, as transformers calls it."""

_PROBES = ("a", "1", "the", "。")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTemplate:
    """What a tokenizer puts around the two texts of a pair.

    Attributes:
        ids: Packed ids before the first text, between the two, and behind the second.
        type_ids: Packed token type ids of the same three places.
        text_type_ids: The token type id of the first and of the second text.
    """

    ids: tuple[bytes, bytes, bytes]
    type_ids: tuple[bytes, bytes, bytes]
    text_type_ids: tuple[int, int]

    @property
    def count(self) -> int:
        """Number of special tokens in a pair."""
        return sum(map(len, self.ids)) // ID_BYTES

    @property
    def has_type_ids(self) -> bool:
        """Whether any token type id is not 0."""
        return any(map(any, self.type_ids)) or any(self.text_type_ids)


def find_pair_template(tokenizer: Tokenizer) -> PairTemplate:
    """Find what a tokenizer puts around the texts of a pair, by encoding short ones.

    Raises:
        RepositoryError: The tokenizer knows none of the short texts.
    """
    for first in _PROBES:
        for second in _PROBES:
            found = tokenizer.encode(first, second)
            sides = found.sequence_ids
            if 0 not in sides or 1 not in sides:
                continue
            ends = len(sides) - 1 - sides[::-1].index(0), len(sides) - 1 - sides[::-1].index(1)
            cuts = ((0, sides.index(0)), (ends[0] + 1, sides.index(1)), (ends[1] + 1, len(sides)))
            ids = [pack_ids(found.ids[start:end]) for start, end in cuts]
            type_ids = [pack_ids(found.type_ids[start:end]) for start, end in cuts]
            return PairTemplate(
                ids=(ids[0], ids[1], ids[2]),
                type_ids=(type_ids[0], type_ids[1], type_ids[2]),
                text_type_ids=(found.type_ids[ends[0]], found.type_ids[ends[1]]),
            )
    raise RepositoryError("The model's stored tokenizer has no tokens for common words. Delete the model.")


class PairTokenizer:
    """Tokenizes pairs. Thread-safe.

    Attributes:
        joins_pairs: Whether each pair is tokenized as one text.
        text: The tokenizer of single texts.
        template: What stands around the texts of a pair.
    """

    joins_pairs = False

    def __init__(self, text: TextPreprocessor) -> None:
        self.text = text
        self.template = find_pair_template(text.backend)
        longest = text.config.max_tokens
        self._type_runs = tuple(pack_ids([kind]) * longest for kind in self.template.text_type_ids)

    def encode(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        prompt: str | None = None,
        cut: PairCut = "longest_first",
        cut_side: CutSide | None = None,
        counts_all: bool = True,
    ) -> list[TokenizedText]:
        """Tokenize pairs, and cut those that are longer than the model's maximum.

        Args:
            pairs: Any number of pairs.
            prompt: Prefix of the first text of every pair; the model's default prompt if None.
            cut: Which text is cut: the longer one until both are equally long, or always the first.
            cut_side: As in ``TextPreprocessor.encode``.
            counts_all: As in ``TextPreprocessor.encode``.

        Returns:
            One sequence per pair, in order.

        Raises:
            TokenizerError: The tokenizer failed on one of the texts.
        """
        before = self.text.default_prompt if prompt is None else prompt
        side = cut_side or self.text.cut_side
        firsts = self._distinct([before + first for first, _ in pairs], side, counts_all=counts_all)
        longest = max(map(_total, firsts.values()), default=0)
        if not counts_all and cut == "longest_first" and longest > self.text.config.max_tokens:
            # If both texts are too long, the longer one may keep a token more, and starts do not say which one it is.
            counts_all = True
            firsts = self._distinct(list(firsts), side, counts_all=True)
        counts_all = counts_all or cut != "longest_first"
        seconds = self._distinct([second for _, second in pairs], side, counts_all=counts_all)
        return [self._join(firsts[before + first], seconds[second], cut, side) for first, second in pairs]

    def _distinct(self, texts: Sequence[str], side: CutSide, *, counts_all: bool) -> dict[str, TokenizedText]:
        distinct = list(dict.fromkeys(texts))
        items = self.text.encode_bare(distinct, cut_side=side, counts_all=counts_all)
        return dict(zip(distinct, items, strict=True))

    def _join(self, first: TokenizedText, second: TokenizedText, cut: PairCut, side: CutSide) -> TokenizedText:
        totals = _total(first), _total(second)
        room = max(0, self.text.config.max_tokens - self.template.count)
        kept = _shares(*totals, room, cut)
        a, b = (_keep(part.packed_ids, count, side) for part, count in zip((first, second), kept, strict=True))
        before, between, behind = self.template.ids
        type_ids = b""
        if self.template.has_type_ids:
            runs = [run[: ID_BYTES * count] for run, count in zip(self._type_runs, kept, strict=True)]
            type_ids = b"".join(
                (self.template.type_ids[0], runs[0], self.template.type_ids[1], runs[1], self.template.type_ids[2])
            )
        return TokenizedText(b"".join((before, a, between, b, behind)), type_ids, 0, sum(totals) - sum(kept))


def _keep(packed: bytes, count: int, side: CutSide) -> bytes:
    size = ID_BYTES * count
    return packed[len(packed) - size :] if side == "left" else packed[:size]


def _total(text: TokenizedText) -> int:
    return len(text) + text.cut_tokens


def _shares(first: int, second: int, room: int, cut: PairCut) -> tuple[int, int]:
    """Return how many tokens of each text are kept, as the truncation of ``tokenizers`` shares the room.

    If only the first text may be cut and the second fills the room, the two are cut as by ``longest_first``: the source
    would fail on such a pair.
    """
    if first + second <= room:
        return first, second
    if cut == "only_first" and second < room:
        return room - second, second
    shorter, longer = sorted((first, second))
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room // 2 + room % 2
    return (longer, shorter) if first > second else (shorter, longer)
