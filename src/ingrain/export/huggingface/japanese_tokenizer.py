"""Builds the serving tokenizer of Japanese BERT models, which split texts into words with MeCab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from ingrain.errors import ExportUnavailableError, UnsupportedModelError
from ingrain.export.model_files import unsupported
from ingrain.install_hint import install_hint
from ingrain.preprocess.japanese import missing_packages
from ingrain.repository.manifest import JapaneseWords

CLASS = "BertJapaneseTokenizer"
_LONGEST_WORD_CHARS = 100  # transformers' `WordpieceTokenizer`
# transformers' WordPiece drops white space (by `str.split`) that MeCab returns as a word, such as a line break.
_SPACES = "".join(char for char in map(chr, range(0x3001)) if char.isspace())
_DEFAULTS = {"do_word_tokenize": True, "word_tokenizer_type": "basic", "do_subword_tokenize": True}


def japanese_words(options: Mapping[str, Any]) -> JapaneseWords:
    """Return how a tokenizer splits texts into words.

    Args:
        options: The contents of ``tokenizer_config.json``, or the tokenizer's attributes.

    Raises:
        ExportUnavailableError: MeCab or the dictionary is not installed.
    """
    options = {**_DEFAULTS, **options}
    mecab = dict(options.get("mecab_kwargs") or {})
    dictionary = mecab.pop("mecab_dic", "unidic_lite")
    for name, value, known in (
        ("do_word_tokenize", options["do_word_tokenize"], (True,)),
        ("word_tokenizer_type", options["word_tokenizer_type"], ("mecab",)),
        ("do_subword_tokenize", options["do_subword_tokenize"], (True,)),
        ("subword_tokenizer_type", options.get("subword_tokenizer_type", "wordpiece"), ("wordpiece", "character")),
        ("mecab_dic", dictionary, ("ipadic", "unidic_lite", "unidic")),
    ):
        if value not in known:
            raise _unsupported(f"has {name} {value!r}; supported: {', '.join(map(repr, known))}")
    normalize = mecab.pop("normalize_text", True)
    if mecab:
        raise _unsupported(f"has the option {min(mecab)!r} for MeCab, which is not supported")
    words = msgspec.convert(
        {"dictionary": dictionary, "normalize": normalize, "lower": bool(options.get("do_lower_case"))}, JapaneseWords
    )
    if missing := missing_packages(words):
        raise ExportUnavailableError(
            f"The model's texts are split into Japanese words by {' and '.join(missing)}, which this installation "
            f"does not have: {install_hint('japanese')}."
        )
    return words


def words_of(tokenizer: Any) -> JapaneseWords:
    """Return how a loaded tokenizer splits texts into words."""
    names = (*_DEFAULTS, "subword_tokenizer_type", "mecab_kwargs", "do_lower_case")
    return japanese_words({name: getattr(tokenizer, name) for name in names})


def build_japanese_tokenizer(tokenizer: Any) -> Tokenizer:
    """Build a tokenizer for texts whose words are separated by spaces."""
    unknown = str(tokenizer.unk_token)
    if tokenizer.subword_tokenizer_type == "character":
        backend = Tokenizer(models.WordLevel(dict(tokenizer.vocab), unknown))
        words = pre_tokenizers.Split(" ", "removed")
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")])
    else:
        backend = Tokenizer(
            models.WordPiece(dict(tokenizer.vocab), unk_token=unknown, max_input_chars_per_word=_LONGEST_WORD_CHARS)
        )
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{_SPACES}]"), "removed")
    backend.add_tokens([token for _, token in sorted(tokenizer.added_tokens_decoder.items())])
    first, last = str(tokenizer.cls_token), str(tokenizer.sep_token)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(first, tokenizer.cls_token_id), (last, tokenizer.sep_token_id)],
    )
    return backend


def _unsupported(what: str) -> UnsupportedModelError:
    return unsupported(f"The model's tokenizer {CLASS!r} {what}.")
