"""Builds a `tokenizers` file that gives the same ids as OpenCLIP's own tokenizer does for cleaned texts.

OpenCLIP finds words with the ``regex`` package's tables of Unicode, which are newer than those inside ``tokenizers``;
so the classes of letters, digits and white space are written out as ranges of code points. A special token that a user
types is a word to OpenCLIP only where its pattern finds it (not in ``!<end_of_text>``), so it must not be cut out
beforehand, as an added token would be. It goes through the merges like any word: merges of its own, which come last,
put its pieces together, and no other word has such pieces beside each other.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

_END_OF_WORD = "</w>"
_SUFFIXES = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def build_bpe_tokenizer(source: Any) -> Tokenizer:
    """Build the serving tokenizer of a ``SimpleTokenizer``; without truncation."""
    special = ("<start_of_text>", "<end_of_text>")
    start, end = (source.encoder[token] for token in special)
    merges = [pair for pair, _ in sorted(source.bpe_ranks.items(), key=lambda entry: int(entry[1]))]
    vocabulary = {token: number for token, number in source.encoder.items() if token not in special}
    vocabulary |= {f"{special[0]}{_END_OF_WORD}": start, f"{special[1]}{_END_OF_WORD}": end}
    for token in special:
        merges += _merges_of_word(token, merges, vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_END_OF_WORD))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # What the pattern does not find is white space, which goes.
            pre_tokenizers.Split(Regex(_pattern(special)), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special[0]} $A {special[1]}", special_tokens=[(special[0], start), (special[1], end)]
    )
    return tokenizer


def _merges_of_word(word: str, merges: list[tuple[str, str]], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Return merges that make one token of a word's ordinary pieces; new tokens go into the vocabulary."""
    plain = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_END_OF_WORD)
    pieces = [token.value for token in plain.tokenize(word)]
    added = []
    left = pieces[0]
    for right in pieces[1:]:
        added.append((left, right))
        left += right
        # Tokens in between never remain, so that nobody sees their numbers; a file has no room for gaps.
        vocabulary.setdefault(left, len(vocabulary))
    return added


def _pattern(special: Iterable[str]) -> str:
    """Return OpenCLIP's pattern of a word for the expressions of ``tokenizers``, case and classes spelled out."""
    letters, digits, others = _ranges(r"\p{L}"), _ranges(r"\p{N}"), _ranges(r"[^\s\p{L}\p{N}]")
    words = ["".join(map(_either_case, word)) for word in (*special, *_SUFFIXES)]
    return "|".join([*words, f"[{letters}]+", f"[{digits}]", f"[{others}]+"])


def _either_case(character: str) -> str:
    """Return a class of the characters that ``regex`` takes for this one when it ignores case (``s``: ``s S ſ``)."""
    return f"[{_ranges(re.escape(character))}]"


@cache
def _ranges(expression: str) -> str:
    """Return the inside of a class: every character that ``regex`` finds for an expression of one character."""
    import regex

    found = regex.findall(expression, _every_character(), regex.IGNORECASE)
    ranges: list[list[int]] = []
    for number in map(ord, found):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "".join(
        rf"\x{{{first:X}}}" if first == last else rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in ranges
    )


@cache
def _every_character() -> str:
    """Return every character that a text can hold; surrogates cannot be written in UTF-8."""
    return "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
