"""Japanese BERT: MeCab's words and WordPiece or characters, served without transformers."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import export_in_process
import japanese_in_process as in_process
import numpy as np
import pytest

from ingrain.errors import RepositoryError
from ingrain.preprocess import japanese
from ingrain.preprocess.japanese import word_splitter
from ingrain.repository.manifest import JapaneseWords

IPADIC = {"mecab_kwargs": {"mecab_dic": "ipadic"}}
MECAB = IPADIC | {"word_tokenizer_type": "mecab"}


@pytest.mark.parametrize(
    "options",
    [
        {"subword_tokenizer_type": "wordpiece", "do_lower_case": False},
        {"subword_tokenizer_type": "wordpiece", "do_lower_case": True},
        {"subword_tokenizer_type": "character", "do_lower_case": False},
        {"subword_tokenizer_type": "wordpiece", "mecab_kwargs": {"mecab_dic": "unidic_lite"}, "do_lower_case": False},
    ],
)
def test_ids_are_the_sources(exporting: ProcessPoolExecutor, tmp_path: Path, options: dict[str, Any]) -> None:
    """For hundreds of texts: many scripts, special tokens as a user types them, control characters, long words."""
    assert exporting.submit(in_process.differing_texts, tmp_path / "model", IPADIC | options).result() == []


def test_a_japanese_model_is_exported_and_gives_the_vectors_of_the_source(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    options = IPADIC | {"subword_tokenizer_type": "wordpiece", "do_lower_case": False}
    exporting.submit(in_process.build, tmp_path / "models" / "model", options).result()
    done = exporting.submit(export_in_process.export_built, tmp_path).result()
    assert done.manifest.text is not None
    assert done.manifest.text.words == JapaneseWords(dictionary="ipadic")
    for ours, theirs in zip(done.vectors, done.expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "has word_tokenizer_type 'basic'"),
        (MECAB | {"word_tokenizer_type": "sudachi"}, "has word_tokenizer_type 'sudachi'"),
        (MECAB | {"subword_tokenizer_type": "sentencepiece"}, "has subword_tokenizer_type 'sentencepiece'"),
        (MECAB | {"mecab_kwargs": {"mecab_dic": None}}, "has mecab_dic None"),
        (MECAB | {"mecab_kwargs": {"mecab_option": "-d /somewhere"}}, "option 'mecab_option'"),
    ],
)
def test_another_way_of_splitting_is_refused_by_name_before_anything_is_loaded(
    exporting: ProcessPoolExecutor, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    message = exporting.submit(in_process.inspection, tmp_path / "model", options).result()
    assert message.startswith("unsupported_model: ")
    assert reason in message


@pytest.mark.parametrize("missing", [("fugashi",), ("ipadic",), ("fugashi", "ipadic")])
def test_packages_that_are_not_installed_are_named_before_anything_is_loaded(
    exporting: ProcessPoolExecutor, tmp_path: Path, missing: tuple[str, ...]
) -> None:
    message = exporting.submit(in_process.inspection, tmp_path / "model", MECAB, missing).result()
    assert message.startswith("export_unavailable: ")
    assert f"words by {' and '.join(missing)}, which" in message
    assert "pip install '.[japanese]'" in message


def test_a_server_without_the_packages_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(japanese, "find_spec", lambda name: None)
    with pytest.raises(RepositoryError, match=r"fugashi and ipadic, which.*\.\[japanese\]"):
        word_splitter(JapaneseWords(dictionary="ipadic"), ["[MASK]"])


def test_words_stand_between_spaces_and_special_tokens_stay_whole() -> None:
    split = word_splitter(JapaneseWords(dictionary="ipadic"), ["[MASK]"])
    assert split("東京へ行く[MASK]。") == "東京 へ 行く [MASK] 。"
