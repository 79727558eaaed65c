"""Tokenizers that are there without a tokenizer.json: converted rightly, or refused with the reason, early."""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import export_in_process
import numpy as np
import pytest
import tokenizers_in_process as in_process


@pytest.mark.parametrize(
    "kind", ["xlm-roberta", "camembert", "t5", "mt5", "albert", "xlnet", "pegasus", "llama", "gemma"]
)
def test_a_tokenizer_from_sentencepieces_file_makes_the_ids_that_sentencepiece_makes(
    exporting: ProcessPoolExecutor, tmp_path: Path, kind: str
) -> None:
    assert exporting.submit(in_process.comparison, kind, tmp_path / "model").result() == "passes"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("deberta-v2", "other tokens for a text than SentencePiece itself"),  # the normalizer is lost
        ("mbart", "other tokens for a text than SentencePiece itself"),  # likewise
        ("mistral", "other tokens for a text than SentencePiece itself"),  # the leading space is lost
        ("luke", "not checked this conversion"),  # ids are not shifted
    ],
)
def test_a_tokenizer_that_transformers_converts_wrongly_is_refused(
    exporting: ProcessPoolExecutor, tmp_path: Path, kind: str, reason: str
) -> None:
    """Compared with what the library itself makes of it, nothing would be wrong."""
    message = exporting.submit(in_process.comparison, kind, tmp_path / "model").result()
    assert message.startswith("unsupported_model: ")
    assert reason in message
    assert "tokenizer.json" in message
    assert str(tmp_path) not in message


@pytest.mark.parametrize("kind", ["xlm-roberta", "t5"])
def test_a_folder_with_sentencepieces_file_alone_is_converted_and_gives_the_vectors_of_the_source(
    exporting: ProcessPoolExecutor, tmp_path: Path, kind: str
) -> None:
    exporting.submit(in_process.build_without_tokenizer_json, kind, tmp_path / "models" / "model").result()
    done = exporting.submit(export_in_process.export_built, tmp_path).result()
    for ours, theirs in zip(done.vectors, done.expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold a BERT without any file of a tokenizer."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("sentencepiece.bpe.model", "sentencepiece"),
        ("spiece.model", "sentencepiece"),
        ("tokenizer.model", "sentencepiece"),
        ("tiktoken.model", "tiktoken"),
    ],
)
def test_a_package_that_is_not_installed_is_named_before_anything_is_loaded(
    exporting: ProcessPoolExecutor, folder: Path, file: str, package: str
) -> None:
    (folder / file).write_bytes(b"")
    assert exporting.submit(in_process.inspection, folder).result() == "passes"
    message = exporting.submit(in_process.inspection, folder, package).result()
    assert message.startswith("export_unavailable: ")
    assert repr(file) in message
    assert f"pip install {package}" in message
    (folder / "tokenizer.json").write_bytes(b"{}")
    assert exporting.submit(in_process.inspection, folder, package).result() == "passes"


@pytest.mark.parametrize(
    ("config", "tokenizer_config", "reason"),
    [
        ({}, {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "sudachi"}, "'sudachi'"),
        ({}, {"tokenizer_class": "BertweetTokenizer"}, "no fast form"),
        ({"model_type": "roberta", "tokenizer_class": "PhobertTokenizer"}, {}, "no fast form"),
        ({"model_type": "canine"}, {}, "one text length"),
        ({"model_type": "m2m_100"}, {}, "no fast form"),
        ({"model_type": "esm"}, {}, "no fast form"),
    ],
)
def test_a_tokenizer_that_is_python_code_alone_is_refused_before_anything_is_loaded(
    exporting: ProcessPoolExecutor, folder: Path, config: dict[str, str], tokenizer_config: dict[str, str], reason: str
) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"} | config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    message = exporting.submit(in_process.inspection, folder).result()
    assert message.startswith("unsupported_model: ")
    assert reason in message


@pytest.mark.parametrize("name", ["BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast", "Unheard", None])
def test_a_tokenizer_with_a_fast_form_passes(exporting: ProcessPoolExecutor, folder: Path, name: str | None) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    (folder / "vocab.txt").write_text("red")
    assert exporting.submit(in_process.inspection, folder).result() == "passes"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "tokenizer is missing: add"),
        (["special_tokens_map.json"], "tokenizer is missing: add"),
        (["vocab.json"], "missing in part (merges.txt): add"),
        (["merges.txt"], "missing in part (vocab.json): add"),
    ],
)
def test_a_tokenizer_without_its_vocabulary_is_refused(
    exporting: ProcessPoolExecutor, folder: Path, files: list[str], reason: str
) -> None:
    """The library makes a tokenizer without a word, so that its vectors equal ours, and those of other texts."""
    for name in files:
        (folder / name).write_text("{}")
    message = exporting.submit(in_process.inspection, folder).result()
    assert message.startswith("unsupported_model: ")
    assert reason in message
    assert "tokenizer.json" in message


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "t5", "camembert", "albert", "gpt2", "clip"])
def test_a_vocabulary_of_another_kind_of_tokenizer_is_refused(
    exporting: ProcessPoolExecutor, tmp_path: Path, kind: str
) -> None:
    """The library passes over a file of a name that the tokenizer's class does not read."""
    message = exporting.submit(in_process.written_without_vocabulary, kind, tmp_path).result()
    assert message.startswith("unsupported_model: ")
    assert "no word in its vocabulary" in message


def test_a_missing_package_is_never_told_as_missing_files(exporting: ProcessPoolExecutor, folder: Path) -> None:
    """Also where the library wraps what the import raised."""
    message = exporting.submit(in_process.load_error_without, "fugashi", folder).result()
    assert message.startswith("export_unavailable: ")
    assert "'fugashi'" in message
