"""Tokenizes pairs of texts for models that read chat messages: a template makes one text of the two.

The result is that of the source's chat template. Every export compares the token ids with the source's.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingrain.errors import InvalidRequestError, TokenizerError
from ingrain.preprocess.id_bytes import pack_ids
from ingrain.preprocess.pairs import PairCut, PairTokenizer
from ingrain.preprocess.special_tokens import CutSide
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.preprocess.tokenizer_faults import is_tokenizer_failure
from ingrain.repository.pair_template import Slot

# sentence-transformers finds a template's end in the same way, with the same texts.
_FILLERS = ("0", "1 2 3 4")
_PROMPTS_REMEMBERED = 64


def render(parts: Sequence[str | Slot], first: str, second: str, prompt: str) -> str:
    """Return a template with its texts filled in."""
    texts = {"first": first, "second": second, "prompt": prompt}
    return "".join(part if isinstance(part, str) else _filled(part, texts) for part in parts)


class ChatPairTokenizer:
    """Tokenizes pairs as one text each. Thread-safe.

    Attributes:
        joins_pairs: Whether each pair is tokenized as one text.
        text: The tokenizer of single texts.
    """

    joins_pairs = True

    def __init__(self, text: TextPreprocessor) -> None:
        self.text = text
        assert text.config.pair_template is not None
        self._template = text.config.pair_template
        self._ends: dict[str, bytes] = {}

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

        A pair is cut as one text, whatever ``cut`` says, and keeps the template's end, as in sentence-transformers.

        Args:
            pairs: Any number of pairs.
            prompt: Text of the system message; the model's default prompt if None. An empty one is left out.
            cut: As in ``PairTokenizer``, without effect.
            cut_side: As in ``TextPreprocessor.encode``.
            counts_all: As in ``TextPreprocessor.encode``.

        Returns:
            One sequence per pair, in order.

        Raises:
            TokenizerError: The tokenizer failed on one of the texts.
            InvalidRequestError: The template has no place for a prompt.
        """
        del cut
        prompt = self.text.default_prompt if prompt is None else prompt
        texts = [self._rendered(first, second, prompt) for first, second in pairs]
        items = self.text.encode(texts, prompt="", cut_side=cut_side, counts_all=counts_all)
        if not self._template.keeps_end:
            return items
        return [item if len(item) < self.text.config.max_tokens else self._with_end(item, prompt) for item in items]

    def _rendered(self, first: str, second: str, prompt: str) -> str:
        parts = self._template.with_prompt if prompt else self._template.without_prompt
        if parts is None:
            raise InvalidRequestError(
                "The model's chat template refuses a system message, so the model takes no prompt. Leave `prompt` out.",
                param="prompt",
            )
        return render(parts, first, second, prompt)

    def _with_end(self, item: TokenizedText, prompt: str) -> TokenizedText:
        """Put the template's end over the last tokens."""
        end = self._end_of(prompt)[-len(item.packed_ids) :]
        return TokenizedText(item.packed_ids[: len(item.packed_ids) - len(end)] + end, cut_tokens=item.cut_tokens)

    def _end_of(self, prompt: str) -> bytes:
        end = self._ends.get(prompt)
        if end is None:
            if len(self._ends) >= _PROMPTS_REMEMBERED:
                self._ends.clear()
            end = self._ends[prompt] = self._find_end(prompt)
        return end

    def _find_end(self, prompt: str) -> bytes:
        """Return the packed ids that the template puts behind the texts: those that two different pairs share."""
        one, other = (self._all_ids(self._rendered(filler, filler, prompt)) for filler in _FILLERS)
        shortest = min(len(one), len(other))
        count = next((place for place in range(shortest) if one[-1 - place] != other[-1 - place]), shortest)
        return pack_ids(one[len(one) - count :]) if count < shortest else b""

    def _all_ids(self, text: str) -> list[int]:
        """Return the ids of a text that is not cut."""
        try:
            found = self.text.backend.encode(text, add_special_tokens=False)
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            raise TokenizerError("The model's tokenizer failed on a prompt.") from error
        pieces = [found, *found.overflowing]
        if self.text.cut_side == "left":
            pieces.reverse()  # in this case the first piece is the end of the text
        return [token for piece in pieces for token in piece.ids]


AnyPairTokenizer = PairTokenizer | ChatPairTokenizer
"""The tokenizer of a model's pairs."""


def open_pair_tokenizer(text: TextPreprocessor) -> AnyPairTokenizer:
    """Return the tokenizer of a model's pairs."""
    return PairTokenizer(text) if text.config.pair_template is None else ChatPairTokenizer(text)


def _filled(slot: Slot, texts: dict[str, str]) -> str:
    text = texts[slot.takes]
    return text.strip() if slot.strip else text
