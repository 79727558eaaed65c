"""Finds a start of a long text whose tokens are the first tokens of the whole text, so that the rest can be left out.

A text may be cut where the tokens before the cut depend on nothing behind it. Between ``river`` and ``runs`` in ``the
river runs`` that holds if

- the normalizers change a letter, digit or space by itself, or by the letters of the same word;
- the pre-tokenizer always splits between a word and the space after it;
- the model tokenizes each piece by itself, without chance;
- no added token contains a space.

Only components that are known to behave so are accepted. For any other tokenizer every text is tokenized as a whole.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, normalizers

from ingrain.preprocess.tokenizer_parts import parts_of

# Only between ASCII letters and digits: they are no part of a grapheme of several characters, no normal form combines
# them with a space, and every pre-tokenizer below takes them as letters and digits.
_WORD_CHARACTERS = string.ascii_letters + string.digits
_AFTER_WORD = re.compile("[A-Za-z0-9](?= [A-Za-z0-9])")

_LOCAL_NORMALIZERS = frozenset(
    "BertNormalizer Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend Strip StripAccents".split()  # noqa: SIM905
)
_MODELS = frozenset({"WordPiece", "WordLevel", "Unigram", "BPE"})
_ALWAYS_SPLIT = frozenset({"BertPreTokenizer", "Whitespace", "WhitespaceSplit"})
# These split between characters of different kinds, so that only what stands next to each other matters.
_SPLIT_MORE = frozenset({"Digits", "Punctuation"})
# CLIP, GPT-2, Llama 3 and Qwen 2. Of what these match, nothing reaches from a word over the space behind it.
_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
_WORDS = r"(?i:" + _CONTRACTIONS + r")|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_KNOWN_PATTERNS = frozenset(
    {
        _CONTRACTIONS + r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        _CONTRACTIONS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        _WORDS + r"\p{N}" + _REST,
        _WORDS + r"\p{N}{1,3}" + _REST,
    }
)


# The pattern of an OpenCLIP model that the exporter writes: words of classes of characters, each with its code points.
_CODE_POINTS = r"\\x\{([0-9A-F]+)\}(?:-\\x\{([0-9A-F]+)\})?"
_CLASSES = re.compile(rf"(?:\[(?:{_CODE_POINTS})+\]\+?\|?)+")


def may_be_cut(tokenizer: Tokenizer) -> bool:
    """Return whether ``start_of`` may be used with a tokenizer."""
    described = json.loads(tokenizer.to_str())
    splitters = list(parts_of(described["pre_tokenizer"], "pretokenizers"))
    added = [token["content"] for token in described["added_tokens"]]
    normalizer = tokenizer.normalizer
    if normalizer is not None:
        added = [*added, *map(normalizer.normalize_str, added)]
    return (
        described["model"]["type"] in _MODELS
        and not described["model"].get("dropout")
        and all(map(_is_local, parts_of(described["normalizer"], "normalizers")))
        and (normalizer is None or all(_keeps_apart(normalizer, character) for character in _WORD_CHARACTERS))
        and _split_at_words(splitters)
        and not any(map(re.compile(r"\s").search, added))
    )


def start_of(text: str, chars: int) -> str:
    """Return the start of a text up to the end of a word, of more than ``chars`` characters; else the whole text."""
    found = _AFTER_WORD.search(text, chars) if len(text) > chars else None
    return text if found is None else text[: found.end()]


def _is_local(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] != "Replace":
        return normalizer["type"] in _LOCAL_NORMALIZERS
    pattern, content = normalizer["pattern"], normalizer["content"]
    if "Regex" in pattern:
        return pattern["Regex"] in (" {2,}", r"\s+") and content == " "
    return bool(pattern["String"]) and not re.search(r"[\sA-Za-z0-9▁]", pattern["String"] + content)


def _keeps_apart(normalizer: normalizers.Normalizer, character: str) -> bool:
    """Return whether the normalizer leaves a letter or digit, but for its case, and the space before it."""
    return normalizer.normalize_str(f"{character} {character}").endswith((f" {character}", f" {character.lower()}"))


def _split_at_words(splitters: Sequence[dict[str, Any]]) -> bool:
    """Return whether pre-tokenizers, one after the other, always split between a word and the space after it."""
    for splitter in splitters:
        if _splits_at_words(splitter):
            # The others see only pieces of what this one has split. They may not look at the text around.
            return all(_splits_at_words(one) or one["type"] in (*_SPLIT_MORE, "ByteLevel") for one in splitters)
        if splitter["type"] not in _SPLIT_MORE:
            return False
    return False


def _splits_at_words(splitter: dict[str, Any]) -> bool:
    match splitter["type"]:
        case "Metaspace":
            return bool(splitter["split"])
        case "ByteLevel":
            return bool(splitter["use_regex"])
        case "Split":
            pattern = splitter["pattern"].get("Regex", "")
            is_known = pattern in _KNOWN_PATTERNS or _never_matches_a_space(pattern)
            return is_known and splitter["behavior"] in ("Isolated", "Removed")
    return splitter["type"] in _ALWAYS_SPLIT


def _never_matches_a_space(pattern: str) -> bool:
    space = ord(" ")
    return _CLASSES.fullmatch(pattern) is not None and not any(
        int(first, 16) <= space <= int(last or first, 16) for first, last in re.findall(_CODE_POINTS, pattern)
    )
