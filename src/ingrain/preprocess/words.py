"""Receives texts of a tokenizer that takes each word by itself, hands on their ids, from words that came before.

Tokenizing takes a quarter of the front end's time for a short text, and nearly all of it for a long one; yet most words
of a text have come before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer

from ingrain.preprocess.frame import Frame
from ingrain.preprocess.packed import pack_ids

# Of each of the two generations; a word takes some 200 bytes.
_MOST_WORDS = 10_000
_LONGEST_WORD = 64
# With so many known, a text of which more than a third is new is no ordinary one: its words may never come again, and
# by itself a word costs the tokenizer more than in a whole text.
_ENOUGH_WORDS = 2_000
_MOSTLY_NEW = 3


class WordByWord:
    """Knows the ids of words, and asks the tokenizer for those of new ones.

    A word is what stands between two spaces. Thread-safe: what is read and written are single entries of dictionaries.

    Args:
        tokenizer: One of which ``find`` says that it takes each word by itself.
        frame: What it puts around a text.
        zero: Takes ids, returns them as the graph wants them.
    """

    def __init__(self, tokenizer: Tokenizer, frame: Frame, zero: Callable[[Sequence[int]], Sequence[int]]) -> None:
        self._tokenizer = tokenizer
        self._zero = zero
        self._before, self._behind = pack_ids(zero(frame.before)), pack_ids(zero(frame.behind))
        # When the young are too many they become the old, and the old are forgotten: the words in use stay.
        self._young: dict[str, bytes] = {"": b""}
        self._old: dict[str, bytes] = {}

    @classmethod
    def find(
        cls, tokenizer: Tokenizer, frame: Frame, *, zero: Callable[[Sequence[int]], Sequence[int]] = list
    ) -> WordByWord | None:
        """Return the words of a tokenizer of BERT's kind; None where a word's ids may depend on what is beside it.

        BERT's normalizer changes characters one by one, its pre-tokenizer splits at every space, WordPiece sees nothing
        but its own piece, and no added token reaches over a space.

        Args:
            tokenizer: Any.
            frame: What it puts around a text.
            zero: Takes ids, returns them as the graph wants them.
        """
        before, own, behind = frame.type_ids
        if any(before) or own or any(behind) or not _takes_each_word_by_itself(json.loads(tokenizer.to_str())):
            return None
        return cls(tokenizer, frame, zero)

    def encode(self, text: str) -> bytes:
        """Return a text's ids, packed, special tokens included and nothing cut.

        What has more tokens than the tokenizer takes of a text may be cut; the text is then too long in any case.
        """
        words, young = text.split(" "), self._young
        try:
            return b"".join((self._before, *[young[word] for word in words], self._behind))
        except KeyError:
            return self._encode_new(text, words)

    def _encode_new(self, text: str, words: list[str]) -> bytes:
        found = {word: self._young.get(word) or self._old.get(word) or b"" for word in words}
        missing = [word for word, known in found.items() if not known and word]
        knows_enough = len(self._young) + len(self._old) > _ENOUGH_WORDS
        if knows_enough and _MOSTLY_NEW * len(missing) > len(words):
            self._keep([(missing[0], self._ask(missing[0]))])
            return self._before + self._ask(text) + self._behind
        # One by one: for a batch the tokenizer would wake threads of its own, which takes longer than a word.
        found.update((word, self._ask(word)) for word in missing)
        self._keep(found.items())
        return b"".join((self._before, *[found[word] for word in words], self._behind))

    def _ask(self, text: str) -> bytes:
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return pack_ids(self._zero(encoding.ids))

    def _keep(self, words: Iterable[tuple[str, bytes]]) -> None:
        if len(self._young) > _MOST_WORDS:
            self._old, self._young = self._young, {"": b""}
        self._young.update((word, ids) for word, ids in words if len(word) <= _LONGEST_WORD)


def _takes_each_word_by_itself(described: dict[str, Any]) -> bool:
    normalizer, splitter = described.get("normalizer"), described.get("pre_tokenizer")
    return (
        described["model"]["type"] == "WordPiece"
        and (normalizer is None or normalizer["type"] == "BertNormalizer")
        and splitter is not None
        and splitter["type"] == "BertPreTokenizer"
        and not any(_reaches_beyond_a_word(token) for token in described["added_tokens"])
    )


def _reaches_beyond_a_word(token: dict[str, Any]) -> bool:
    return bool(token["lstrip"] or token["rstrip"] or token["single_word"] or " " in token["content"])
