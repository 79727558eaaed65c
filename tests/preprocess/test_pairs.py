"""Pairs of texts have the ids and types that the tokenizer itself gives them, cut in the same way."""

import random

import pytest

from ingrain.preprocess.pairs import PairTokenizer
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.manifest import TextPreprocess
from texts import sentences
from tiny_tokenizers import build_tokenizer

LIMIT = 24
KINDS = [
    ("wordpiece", "cls_sep", "right"),
    ("roberta", "bos_eos", "right"),
    ("unigram", "bos_eos", "left"),
    ("bytes", "eos", "right"),
]


def pairs_of_all_lengths() -> list[tuple[str, str]]:
    seed = random.Random(7)  # the same pairs every time
    words = " ".join(sentences()[:20]).split()
    texts = [" ".join(seed.choices(words, k=count)) for count in (*range(14), 40, 200)]
    return [(first, second) for first in ["", "日本 东京", *texts] for second in ["", "naïve Straße", *texts]]


@pytest.fixture(scope="module", params=KINDS, ids=[kind[0] for kind in KINDS])
def tokenizers(request, tmp_path_factory):
    """The tokenizer itself, and ours of the same file."""
    kind, template, side = request.param
    backend = build_tokenizer(kind, template, token_type_ids=True).backend_tokenizer
    backend.enable_truncation(LIMIT, strategy="longest_first", direction=side)
    folder = tmp_path_factory.mktemp(kind)
    backend.save(str(folder / "tokenizer.json"))
    return backend, PairTokenizer(TextPreprocessor(TextPreprocess(max_tokens=LIMIT), folder))


def ids_and_types(item: TokenizedText, tokenizer: PairTokenizer) -> tuple[list[int], list[int]]:
    arrays = collate([item], tokenizer.text.config, ("input_ids", "token_type_ids"))
    return arrays["input_ids"][0].tolist(), arrays["token_type_ids"][0].tolist()


@pytest.mark.parametrize("counts_all", [True, False])
def test_ids_and_types_are_those_of_the_tokenizer(tokenizers, counts_all):
    backend, ours = tokenizers
    pairs = pairs_of_all_lengths()
    for pair, item in zip(pairs, ours.encode(pairs, counts_all=counts_all), strict=True):
        wanted = backend.encode(*pair)
        assert ids_and_types(item, ours) == (wanted.ids, wanted.type_ids), pair


@pytest.mark.parametrize("lengths", [(100, 70), (70, 100), (100, 100)])
def test_the_longer_of_two_very_long_texts_keeps_a_token_more(tokenizers, lengths):
    """Only the starts of such texts are tokenized first, which have about as many tokens."""
    backend, ours = tokenizers
    pair = ("river " * lengths[0], "stone " * lengths[1])
    (item,) = ours.encode([pair], counts_all=False)
    assert ids_and_types(item, ours)[0] == backend.encode(*pair).ids


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_that_is_cut_can_be_chosen(tokenizers, side):
    backend, ours = tokenizers
    backend.enable_truncation(LIMIT, strategy="longest_first", direction=side)
    try:
        pairs = pairs_of_all_lengths()
        wanted = [backend.encode(*pair) for pair in pairs]
    finally:
        backend.enable_truncation(LIMIT, strategy="longest_first", direction=ours.text.cut_side)
    for pair, item, whole in zip(pairs, ours.encode(pairs, cut_side=side, counts_all=False), wanted, strict=True):
        assert ids_and_types(item, ours) == (whole.ids, whole.type_ids), pair


def test_what_is_cut_off_is_counted(tokenizers):
    backend, ours = tokenizers
    pairs = pairs_of_all_lengths()
    items = ours.encode(pairs)
    backend.no_truncation()
    try:
        totals = [len(backend.encode(*pair)) for pair in pairs]
    finally:
        direction = "left" if ours.text.cut_side == "left" else "right"
        backend.enable_truncation(LIMIT, strategy="longest_first", direction=direction)
    assert [len(item) + item.cut_tokens for item in items] == totals
    assert [bool(item.cut_tokens) for item in items] == [total > LIMIT for total in totals]


def test_only_the_first_text_is_cut_where_that_is_asked(tokenizers):
    backend, ours = tokenizers
    direction = "left" if ours.text.cut_side == "left" else "right"
    backend.enable_truncation(LIMIT, strategy="only_first", direction=direction)
    try:
        pair = ("the river runs to the sea " * 20, "stone")
        wanted = backend.encode(*pair)
    finally:
        backend.enable_truncation(LIMIT, strategy="longest_first", direction=direction)
    (item,) = ours.encode([pair], cut="only_first")
    assert ids_and_types(item, ours)[0] == wanted.ids


def test_a_prompt_goes_before_the_first_text(tokenizers):
    _, ours = tokenizers
    with_prompt = ours.encode([("river", "stone")], prompt="query: ")
    assert with_prompt == ours.encode([("query: river", "stone")])
