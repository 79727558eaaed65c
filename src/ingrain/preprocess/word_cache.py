"""Caches the token ids of words, for tokenizers that tokenize each word independently.

Tokenizing takes a quarter of the front end's time for a short text, and nearly all of its time for a long one. Most
words of a text are in the cache.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ingrain.preprocess.id_bytes import pack_ids
from ingrain.preprocess.special_tokens import SpecialTokens

# Limit of each of the two generations; a word takes about 200 bytes.
_MOST_WORDS = 10_000
_LONGEST_WORD = 64
# If the cache has this many words, a text with more than a third new words is unusual. Its words may never come again,
# and tokenizing them one by one takes longer than tokenizing the whole text.
_ENOUGH_WORDS = 2_000
_MOSTLY_NEW = 3
# What stands for the end of a text among its words, and for its ids; no word and no id can be equal to it.
_END = None
_END_ID = -1


class WordCache:
    """Tokenizes texts from cached words, and new words with the tokenizer.

    Words are separated by single spaces. Thread-safe, because every access is to a single dictionary entry.

    Args:
        tokenizer: Tokenizes each word independently; see ``for_tokenizer``.
        special: The tokenizer's special tokens.
        zero: Replaces ids that the graph expects as 0.
    """

    def __init__(
        self, tokenizer: Tokenizer, special: SpecialTokens, zero: Callable[[Sequence[int]], Sequence[int]]
    ) -> None:
        self._tokenizer = tokenizer
        self._zero = zero
        self._prefix, self._suffix = pack_ids(zero(special.prefix)), pack_ids(zero(special.suffix))
        # ``encode_many`` puts _END between texts.
        self._always: dict[str | None, bytes] = {"": b"", _END: self._suffix + pack_ids([_END_ID]) + self._prefix}
        # A full young generation replaces the old one. Words that are used again are copied from the old to the young.
        self._young = dict(self._always)
        self._old: dict[str | None, bytes] = {}

    @classmethod
    def for_tokenizer(
        cls, tokenizer: Tokenizer, special: SpecialTokens, *, zero: Callable[[Sequence[int]], Sequence[int]] = list
    ) -> WordCache | None:
        """Return a cache for a BERT tokenizer; None for a tokenizer whose ids of a word may depend on its neighbours.

        BERT's normalizer changes single characters, its pre-tokenizer splits at every space, WordPiece tokenizes words
        one by one, and no added token contains a space.

        Args:
            tokenizer: Any tokenizer.
            special: The tokenizer's special tokens.
            zero: Replaces ids that the graph expects as 0.
        """
        before, own, after = special.type_ids
        if any(before) or own or any(after) or not _words_are_independent(json.loads(tokenizer.to_str())):
            return None
        return cls(tokenizer, special, zero)

    def encode(self, text: str) -> bytes:
        """Return a text's packed ids, including special tokens.

        The ids are complete unless they exceed the tokenizer's maximum; then the caller must tokenize and cut the text.
        """
        words, young = text.split(" "), self._young
        try:
            return b"".join((self._prefix, *[young[word] for word in words], self._suffix))
        except KeyError:
            return self._encode_new(text, words)

    def _encode_new(self, text: str, words: list[str]) -> bytes:
        found: dict[str | None, bytes] = {word: self._young.get(word) or self._old.get(word) or b"" for word in words}
        missing = [word for word in found if word and not found[word]]
        knows_enough = len(self._young) + len(self._old) > _ENOUGH_WORDS
        if knows_enough and _MOSTLY_NEW * len(missing) > len(words):
            self._keep([(missing[0], self._tokenize(missing[0]))])
            return self._prefix + self._tokenize(text) + self._suffix
        # One by one, because a batch wakes the tokenizer's threads, which takes longer than tokenizing a word.
        found.update((word, self._tokenize(word)) for word in missing)
        self._keep(found.items())
        return b"".join((self._prefix, *[found[word] for word in words], self._suffix))

    def encode_many(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], list[int]] | None:
        """Return the ids of texts, one text after the other, and the number of ids of each text.

        Args:
            texts: Any number of texts, at least one.

        Returns:
            ``int64 [N]`` and the lengths, complete as in ``encode``; None if many words are new, because then the texts
            should be encoded one by one.
        """
        words: list[str | None] = []
        for text in texts:
            words += text.split(" ")
            words.append(_END)
        try:
            found = list(map(self._young.__getitem__, words))
        except KeyError:
            known = self._learn(words)
            if known is None:
                return None
            found = list(map(known.__getitem__, words))
        joined = np.frombuffer(b"".join([self._prefix, *found]), np.int64)
        ends = np.flatnonzero(joined == _END_ID)
        lengths = np.diff(ends, prepend=-1) - 1
        return np.delete(joined, ends)[: int(lengths.sum())], lengths.tolist()

    def _learn(self, words: Sequence[str | None]) -> dict[str | None, bytes] | None:
        """Return the ids of all words, after tokenizing the new ones in one call; None if too many are new."""
        found = {word: self._young.get(word) or self._old.get(word) or b"" for word in words} | self._always
        missing = [word for word, known in found.items() if not known and word]
        if len(self._young) + len(self._old) > _ENOUGH_WORDS and _MOSTLY_NEW * len(missing) > len(words):
            return None
        encodings = self._tokenizer.encode_batch_fast(missing, add_special_tokens=False)
        found.update((word, pack_ids(self._zero(one.ids))) for word, one in zip(missing, encodings, strict=True))
        self._keep(itertools.islice(found.items(), _MOST_WORDS))
        return found

    def _tokenize(self, text: str) -> bytes:
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return pack_ids(self._zero(encoding.ids))

    def _keep(self, words: Iterable[tuple[str | None, bytes]]) -> None:
        if len(self._young) > _MOST_WORDS:
            self._old, self._young = self._young, dict(self._always)
        self._young.update((word, ids) for word, ids in words if word is not None and len(word) <= _LONGEST_WORD)


def _words_are_independent(described: dict[str, Any]) -> bool:
    normalizer, splitter = described.get("normalizer"), described.get("pre_tokenizer")
    return (
        described["model"]["type"] == "WordPiece"
        and (normalizer is None or normalizer["type"] == "BertNormalizer")
        and splitter is not None
        and splitter["type"] == "BertPreTokenizer"
        and not any(_depends_on_neighbours(token) for token in described["added_tokens"])
    )


def _depends_on_neighbours(token: dict[str, Any]) -> bool:
    return bool(token["lstrip"] or token["rstrip"] or token["single_word"] or " " in token["content"])
