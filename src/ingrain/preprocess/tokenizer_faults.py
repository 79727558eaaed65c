"""Tells the failure of a tokenizer from other errors, and finds tokenizers that no server should run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import ceil, prod
from typing import Any

from tokenizers import Tokenizer

from ingrain.errors import IngrainError
from ingrain.preprocess.tokenizer_parts import parts_of

# How many times as long a text may become. Most normalizers of published models make none longer, some twice.
_MOST_GROWTH = 100
_MOST_ADDED_CHARS = 1_000
# WordPiece takes a time that grows with the cube of a word's length; published models have 100.
_MOST_WORD_CHARS = 1_000
_LAST_PROBED = 0xFFFF
_PROBES = (
    "",
    " ",
    "the river runs to the sea, slowly; 42 euros? don't e-mail me! " * 100,
    "a" * 5_000,
    " " * 5_000,
    "\n\t\r" * 1_000,
    "-_.,;:!?'\"()[]{}<>@#$%^&*" * 100,
    "今天天气很好 съешь же мягких булок नमस्ते שלום 🙂👍🏽 e\u0301\u200b\u0600 " * 50,
    "\x00\x01\x7f\ufffd\ufeff",
)


def is_tokenizer_failure(error: BaseException) -> bool:
    """Return whether a tokenizer raised this: an exception, or a panic of its Rust code, which is no ``Exception``."""
    if isinstance(error, Exception):
        return not isinstance(error, (IngrainError, MemoryError))
    return is_panic(error)


def is_panic(error: BaseException) -> bool:
    """Return whether an exception is a panic of Rust code; its class cannot be imported."""
    return type(error).__name__ == "PanicException"


def growth_fault(tokenizer: Tokenizer) -> str | None:
    """Return why a tokenizer makes texts far longer than they are, as the end of a sentence; None if it does not.

    Read from the tokenizer's description, because trying could take all memory.
    """
    described = json.loads(tokenizer.to_str())
    steps = list(parts_of(described["normalizer"], "normalizers"))
    growth = prod(map(_growth, steps))
    added = sum(len(step["prepend"]) for step in steps if step["type"] == "Prepend")
    model = described["model"]
    affixes = [model.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix")]
    if growth > _MOST_GROWTH:
        return f"makes a text up to {growth} times as long; the limit is {_MOST_GROWTH} times"
    if added > _MOST_ADDED_CHARS or max(map(len, affixes)) > _MOST_ADDED_CHARS:
        return f"adds more than {_MOST_ADDED_CHARS} characters to a text or a word"
    if model.get("max_input_chars_per_word", 0) > _MOST_WORD_CHARS:
        return (
            f"searches words of up to {model['max_input_chars_per_word']} characters; the limit is {_MOST_WORD_CHARS}"
        )
    normalizer = tokenizer.normalizer
    if normalizer is not None and any(step["type"] == "Precompiled" for step in steps):
        prefix = len(normalizer.normalize_str("a"))
        for character in map(chr, _characters()):
            if len(normalizer.normalize_str(character)) > _MOST_GROWTH + prefix:
                return f"makes U+{ord(character):04X} more than {_MOST_GROWTH} characters long"
    return None


def failing_probe(tokenizer: Tokenizer) -> bool:
    """Return whether a tokenizer fails on one of several ordinary and awkward texts."""
    for text in _PROBES:
        try:
            tokenizer.encode_batch_fast([text])
        except BaseException as error:
            if not is_tokenizer_failure(error):
                raise
            return True
    return False


def _growth(step: dict[str, Any]) -> int:
    if step["type"] != "Replace" or not step["content"]:
        return 1
    content, text = len(step["content"]), step["pattern"].get("String")
    # An expression may also match between characters.
    return 1 + content if not text else max(1, ceil(content / len(text)))


def _characters() -> Iterable[int]:
    return (number for number in range(1, _LAST_PROBED + 1) if not 0xD800 <= number < 0xE000)
