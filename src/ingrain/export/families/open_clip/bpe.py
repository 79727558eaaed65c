"""Builds a `tokenizers` tokenizer that gives the same ids for cleaned texts as OpenCLIP's own tokenizer.

OpenCLIP splits words with the ``regex`` package, whose Unicode tables are newer than those of ``tokenizers``. The
pattern built here therefore writes out the classes of letters, digits and white space as ranges of code points.

A user may type a special token. OpenCLIP treats it as a word only where its pattern matches (not in
``!<end_of_text>``), so the special tokens cannot be added tokens, which ``tokenizers`` cuts out before the pattern
runs. They go through BPE like any word: extra merges at the end of the list join their pieces. No other word has these
pieces next to each other.
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
            # Everything that the pattern does not match is white space and is removed.
            pre_tokenizers.Split(Regex(_pattern(special)), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special[0]} $A {special[1]}", special_tokens=[(special[0], start), (special[1], end)]
    )
    return tokenizer


def _merges_of_word(word: str, merges: list[tuple[str, str]], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Return merges that join a word's pieces into one token; adds the intermediate tokens to the vocabulary."""
    plain = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_END_OF_WORD)
    pieces = [token.value for token in plain.tokenize(word)]
    added = []
    left = pieces[0]
    for right in pieces[1:]:
        added.append((left, right))
        left += right
        # Intermediate tokens never appear in an output, so any id will do; the vocabulary must not have gaps.
        vocabulary.setdefault(left, len(vocabulary))
    return added


def _pattern(special: Iterable[str]) -> str:
    """Return OpenCLIP's word pattern for ``tokenizers``, with case and character classes spelled out."""
    letters, digits, others = _ranges(r"\p{L}"), _ranges(r"\p{N}"), _ranges(r"[^\s\p{L}\p{N}]")
    words = ["".join(map(_either_case, word)) for word in (*special, *_SUFFIXES)]
    return "|".join([*words, f"[{letters}]+", f"[{digits}]", f"[{others}]+"])


def _either_case(character: str) -> str:
    """Return a class of the characters that ``regex`` matches with this one, ignoring case (``s``: ``s S ſ``)."""
    return f"[{_ranges(re.escape(character))}]"


@cache
def _ranges(expression: str) -> str:
    """Return the inside of a character class: all characters that ``regex`` matches with the expression."""
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
    """Return all characters of Unicode except surrogates, which UTF-8 cannot encode."""
    return "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
