"""Fuzzes the preprocessing of texts with tokenizers of any combination of parts, and with any texts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from fuzz.bodies import run_cases
from fuzz.documents import Outcome
from ingrain.errors import RepositoryError, TokenizerError
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import TextPreprocess

_MAX_TOKENS = 8
_NORMALIZERS = st.sampled_from(
    [
        normalizers.BertNormalizer(),
        normalizers.Lowercase(),
        normalizers.NFC(),
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Strip(),
        normalizers.Prepend("▁"),
        normalizers.Replace("a", "b" * 20),
        normalizers.Replace("a", ""),
        normalizers.Replace(" ", "▁"),
        normalizers.Replace("", "x"),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Replace(Regex("(a|b)*"), "ab"),
    ]
)
_SPLITTERS = st.sampled_from(
    [
        pre_tokenizers.BertPreTokenizer(),
        pre_tokenizers.Whitespace(),
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Metaspace(),
        pre_tokenizers.Metaspace(split=False),
        pre_tokenizers.ByteLevel(),
        pre_tokenizers.ByteLevel(use_regex=False),
        pre_tokenizers.Digits(),
        pre_tokenizers.Punctuation(),
        pre_tokenizers.Split(Regex("(a+)+b"), "isolated"),
        pre_tokenizers.Split(" ", "merged_with_next"),
    ]
)
_WORDS = {"[UNK]": 0, "a": 1, "b": 2, "ab": 3, "c": 4, "▁a": 5, "Ġa": 6, "##b": 7}
_MODELS = st.sampled_from(
    [
        models.WordLevel(_WORDS, unk_token="[UNK]"),
        models.WordLevel(_WORDS, unk_token="missing"),
        models.WordPiece(_WORDS, unk_token="[UNK]"),
        models.BPE(_WORDS, [("a", "b")], unk_token="[UNK]"),
        models.Unigram([(word, -1.0) for word in _WORDS], 0),
        models.Unigram([(word, -1.0) for word in _WORDS]),
    ]
)
_PIECES = st.one_of(st.sampled_from(["a", "b", "ab", " ", "  ", "c", "[UNK]", "a" * 200]), st.text(max_size=5))


def _tokenizer(model: models.Model, changes: list[object], splitters: list[object]) -> Tokenizer:
    tokenizer = Tokenizer(model)
    if changes:
        tokenizer.normalizer = normalizers.Sequence(changes)
    if splitters:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitters)
    tokenizer.enable_truncation(_MAX_TOKENS)
    return tokenizer


_TOKENIZERS = st.builds(_tokenizer, _MODELS, st.lists(_NORMALIZERS, max_size=3), st.lists(_SPLITTERS, max_size=3))


def fuzz_tokenizers(cases: int, number: int) -> Outcome:
    """Tokenize texts: the tokenizer is refused, or the text is named as the fault, or its start has the ids of all."""
    with tempfile.TemporaryDirectory(prefix="ingrain-fuzz-") as name:
        folder = Path(name)

        def check(tokenizer: Tokenizer, pieces: list[str]) -> None:
            tokenizer.save(str(folder / "tokenizer.json"))
            config = TextPreprocess(max_tokens=_MAX_TOKENS, add_special_tokens=False, allow_empty=True)
            try:
                preprocessor = TextPreprocessor.open(config, folder)
                preprocessor.start_chars = 3
                text = " ".join(pieces)
                (start,), (whole,) = preprocessor.encode([text], counts_all=False), preprocessor.encode([text])
            except (RepositoryError, TokenizerError):
                return
            assert start.packed_ids == whole.packed_ids
            assert (start.cut_tokens > 0) == (whole.cut_tokens > 0)

        return run_cases(check, st.tuples(_TOKENIZERS, st.lists(_PIECES, max_size=20)), cases, number)
