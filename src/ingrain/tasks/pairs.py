"""The pairs of texts of a request: their limits, their prompt and their tokenization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import msgspec

from ingrain.errors import TextTooLongError, TokenizerError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import RequestLimits
from ingrain.preprocess.chat_pairs import AnyPairTokenizer
from ingrain.preprocess.pairs import PairCut
from ingrain.preprocess.text_threads import Slice, TextThreads
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.tasks.texts import Texts, check_texts

# As for texts: what takes less time than handing it to a thread, and what takes a thread about 10 ms.
_INLINE_CHARS, _INLINE_PAIRS = 4_000, 32
_SLICE_CHARS, _SLICE_PAIRS = 16_000, 1_024


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of texts of a request.

    Attributes:
        firsts: The first text of each pair, or a single one that all pairs share; its prompt is put before it. Whether
            and on which side they are truncated holds for the second texts, too.
        seconds: The second text of each pair.
        cut: Which text is cut if a pair is too long.
    """

    firsts: Texts
    seconds: Texts
    cut: PairCut = "longest_first"

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def shares_first(self) -> bool:
        """Whether all pairs have the same first text."""
        return len(self.firsts) == 1

    def of(self, start: int, end: int) -> list[tuple[str, str]]:
        """Return some of the pairs."""
        firsts = [self.firsts.texts[0]] * (end - start) if self.shares_first else self.firsts.texts[start:end]
        return list(zip(firsts, self.seconds.texts[start:end], strict=True))

    def name(self, index: int) -> str:
        """Return the name of a pair for errors, like ``documents[3]``."""
        return self.named.name(index)

    @property
    def named(self) -> Texts:
        """The texts by which errors name the pairs."""
        return self.seconds if self.shares_first else self.firsts


def check_pairs(limits: RequestLimits, pairs: Pairs) -> None:
    """Refuse too many pairs and too long texts."""
    check_texts(limits, pairs.firsts)
    check_texts(limits, pairs.seconds)


def tokenizer_of(model: LoadedModel) -> AnyPairTokenizer:
    """Return the tokenizer of pairs of a model with a scorer."""
    assert model.pairs is not None
    return model.pairs


def is_short(pairs: Pairs, prompt: str | None, tokenizer: AnyPairTokenizer) -> bool:
    """Return whether tokenizing the pairs takes less time than starting a thread."""
    if len(pairs) > _INLINE_PAIRS:
        return False
    chars = sum(map(len, pairs.firsts.texts)) + len(pairs.firsts) * len(prompt or "")
    return chars + sum(_chars_of_each(pairs, prompt, tokenizer)) <= _INLINE_CHARS


def tokenize(pairs: Pairs, prompt: str | None, tokenizer: AnyPairTokenizer) -> list[TokenizedText]:
    """Return the token ids of each pair.

    Raises:
        TextTooLongError: A pair exceeds the model's maximum length and ``truncate`` is False.
        TokenizerError: The tokenizer failed on a text.
    """
    return _tokenize_some(pairs, prompt, tokenizer, 0, len(pairs))


async def tokenize_in_slices(
    pairs: Pairs, prompt: str | None, tokenizer: AnyPairTokenizer, threads: TextThreads, *, timeout_s: float
) -> list[TokenizedText]:
    """Return the token ids of each pair, as ``tokenize`` does, in turns with other requests.

    Raises:
        QueueFullError: The texts of other requests take too long for the timeout in seconds.
    """
    slices: list[Slice[list[TokenizedText]]] = []
    lengths = _chars_of_each(pairs, prompt, tokenizer)
    chars = first = 0
    for index, length in enumerate(lengths):
        chars += length
        end = index + 1
        if chars >= _SLICE_CHARS or end - first >= _SLICE_PAIRS or end == len(lengths):
            slices.append((partial(_tokenize_some, pairs, prompt, tokenizer, first, end), chars))
            chars, first = 0, end
    return list(chain.from_iterable(await threads.run(slices, timeout_s=timeout_s)))


def _chars_of_each(pairs: Pairs, prompt: str | None, tokenizer: AnyPairTokenizer) -> list[int]:
    """Return how many characters are tokenized for each pair.

    A text that all pairs share is tokenized for each of them only if a template makes one text of a pair.
    """
    lengths = list(map(len, pairs.seconds.texts))
    if not pairs.shares_first:
        return [length + len(first) for length, first in zip(lengths, pairs.firsts.texts, strict=True)]
    shared = len(pairs.firsts.texts[0]) + len(prompt or "") if tokenizer.joins_pairs else 0
    return [length + shared for length in lengths]


def _tokenize_some(
    pairs: Pairs, prompt: str | None, tokenizer: AnyPairTokenizer, start: int, end: int
) -> list[TokenizedText]:
    encode = partial(
        tokenizer.encode,
        prompt=prompt,
        cut=pairs.cut,
        cut_side=pairs.firsts.cut_side,
        counts_all=not pairs.firsts.truncate,
    )
    given = pairs.of(start, end)
    try:
        items = encode(given)
    except TokenizerError as error:
        raise _named(error, pairs, given, start, encode) from error
    if not pairs.firsts.truncate:
        _refuse_cut(pairs, items, start, tokenizer.text.config.max_tokens)
    return items


def _named(
    error: TokenizerError,
    pairs: Pairs,
    given: Sequence[tuple[str, str]],
    start: int,
    encode: Callable[[Sequence[tuple[str, str]]], object],
) -> TokenizerError:
    """Return the error with the name of the pair that the tokenizer fails on, found by trying each."""
    for index, pair in enumerate(given, start):
        try:
            encode([pair])
        except TokenizerError:
            name = pairs.name(index)
            return TokenizerError(f"The model's tokenizer failed on {name}.", param=name)
    return error


def _refuse_cut(pairs: Pairs, items: Sequence[TokenizedText], start: int, limit: int) -> None:
    for index, item in enumerate(items, start):
        if item.cut_tokens:
            length = len(item) + item.cut_tokens
            name = pairs.name(index)
            raise TextTooLongError(
                f"{name} has {length} tokens with its other text; the model takes {limit} for a pair. Shorten the "
                "texts, or send `truncate: true`.",
                param=name,
                facts={"index": pairs.named.place(index), "tokens": length, "limit": limit},
            )
