"""Text to padded arrays, with tokenizers trained on the spot."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, TokenizedTexts, collate, cut_tokens_of, gather, lengths_of, pad
from ingrain.repository.manifest import TextPreprocess
from token_ids import ids_of

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "query", ":", "the", "river", "runs", "slowly", "to", "sea"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold a word tokenizer that cuts at 6 tokens, as the exporter writes it."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_truncation(6)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_long_text_is_cut_and_keeps_its_end_token(folder: Path) -> None:
    item = TextPreprocessor(TextPreprocess(max_tokens=6), folder).encode(["the river runs slowly to the sea"])[0]
    assert ids_of(item) == [1, 6, 7, 8, 9, 2]


@pytest.mark.parametrize("own_side", ["left", "right"])
@pytest.mark.parametrize("asked_side", ["left", "right", None])
def test_a_text_is_cut_on_the_side_that_is_asked_for(folder: Path, own_side: str, asked_side: str | None) -> None:
    """As the tokenizer itself does with that ``truncation_side``, whatever its own is, and as many pieces it takes."""
    path, side = str(folder / "tokenizer.json"), asked_side or own_side
    truth, own = Tokenizer.from_file(path), Tokenizer.from_file(path)
    truth.enable_truncation(6, direction=side)
    own.enable_truncation(6, direction=own_side)
    own.save(path)
    preprocessor = TextPreprocessor(TextPreprocess(max_tokens=6), folder)
    words = ["the", "river", "runs", "slowly", "to", "sea", ":", "query", "the", "sea", "runs", "to", "the", "river"]
    for count in range(len(words) + 1):
        text = " ".join(words[:count])
        (item,) = preprocessor.encode([text], cut_side=asked_side)  # type: ignore[arg-type]
        expected = truth.encode(text)
        assert ids_of(item) == expected.ids
        assert np.frombuffer(item.packed_type_ids, np.int64).tolist() == expected.type_ids
        assert item.cut_tokens == max(0, count - 4)


def test_an_empty_text_is_its_special_tokens(folder: Path) -> None:
    assert ids_of(TextPreprocessor(TextPreprocess(max_tokens=6), folder).encode([""])[0]) == [1, 2]


def test_without_special_tokens_an_empty_text_has_no_token(folder: Path) -> None:
    config = TextPreprocess(max_tokens=6, add_special_tokens=False, allow_empty=True)
    items = TextPreprocessor(config, folder).encode(["", "the river"])
    assert [ids_of(item) for item in items] == [[], [6, 7]]
    arrays = collate(items[:1], config, ["input_ids", "attention_mask"])
    assert arrays["input_ids"].tolist() == [[0]]
    assert arrays["attention_mask"].tolist() == [[0]]


def test_padding_in_the_tokenizer_file_is_not_content(folder: Path) -> None:
    """all-MiniLM-L6-v2's own file pads everything to 128 tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert len(TextPreprocessor(TextPreprocess(max_tokens=6), folder).encode(["river"])[0]) == 3


@pytest.mark.parametrize(
    ("side", "ids", "mask", "types"),
    [
        ("right", [[1, 7, 2, 0], [1, 6, 7, 2]], [[1, 1, 1, 0], [1, 1, 1, 1]], [[0, 0, 1, 3], [0, 0, 0, 1]]),
        ("left", [[0, 1, 7, 2], [1, 6, 7, 2]], [[0, 1, 1, 1], [1, 1, 1, 1]], [[3, 0, 0, 1], [0, 0, 0, 1]]),
    ],
)
def test_rows_are_padded_on_the_side_of_the_model(
    folder: Path, side: str, ids: list[list[int]], mask: list[list[int]], types: list[list[int]]
) -> None:
    config = TextPreprocess(max_tokens=6, padding_side=side, pad_type_id=3)  # type: ignore[arg-type]
    items = TextPreprocessor(config, folder).encode(["river", "the river"])
    arrays = collate(items, config, ["input_ids", "attention_mask", "token_type_ids"])
    assert arrays["input_ids"].tolist() == ids
    assert arrays["attention_mask"].tolist() == mask
    assert arrays["token_type_ids"].tolist() == types
    assert all(array.dtype == np.int64 for array in arrays.values())


@pytest.mark.parametrize(("side", "expected"), [("right", [0, 0, 0, 1, 1, 0]), ("left", [0, 0, 0, 0, 1, 1])])
def test_the_prompt_stays_out_of_the_pooling_mask(folder: Path, side: str, expected: list[int]) -> None:
    config = TextPreprocess(
        max_tokens=6,
        padding_side=side,  # type: ignore[arg-type]
        include_prompt=False,
        prompts={"query": "query: "},
        default_prompt_name="query",
    )
    item = TextPreprocessor(config, folder).encode(["river"])[0]
    assert item.prompt_tokens == 3  # [CLS] query :
    arrays = collate([item], config, ["input_ids", "attention_mask", "pooling_mask"], length=6)
    assert arrays["pooling_mask"].tolist() == [expected]


def test_a_prompt_given_with_the_text_replaces_the_default(folder: Path) -> None:
    config = TextPreprocess(max_tokens=6, prompts={"query": "query: "}, default_prompt_name="query")
    preprocessor = TextPreprocessor(config, folder)
    assert ids_of(preprocessor.encode(["river"])[0]) == [1, 4, 5, 7, 2]
    assert ids_of(preprocessor.encode(["river"], prompt="the ")[0]) == [1, 6, 7, 2]
    assert ids_of(preprocessor.encode(["river"], prompt="")[0]) == [1, 7, 2]


def test_a_prompt_that_ends_in_a_special_token_is_counted_as_the_source_counts_it(folder: Path) -> None:
    """The source leaves out the last token of a prompt if it is special, whoever put it there."""
    config = TextPreprocess(max_tokens=6, include_prompt=False, add_special_tokens=False)
    assert TextPreprocessor(config, folder).encode(["river"], prompt="query [SEP]")[0].prompt_tokens == 1


def test_only_the_inputs_of_the_graph_are_made_and_in_its_order() -> None:
    arrays = collate([TokenizedText.of([5, 6])], TextPreprocess(max_tokens=6), ["attention_mask", "input_ids"])
    assert list(arrays) == ["attention_mask", "input_ids"]


def many(*texts: list[int], prompt_tokens: int = 0) -> TokenizedTexts:
    ids = np.array([one for text in texts for one in text], np.int64)
    return TokenizedTexts(ids, list(map(len, texts)), prompt_tokens)


def test_many_texts_in_one_array_are_a_sequence_of_texts() -> None:
    texts = many([1, 2], [1, 5, 6, 2], [], [1, 7, 2], prompt_tokens=1)
    assert len(texts) == 4
    assert [ids_of(text) for text in texts] == [[1, 2], [1, 5, 6, 2], [], [1, 7, 2]]
    assert [text.prompt_tokens for text in texts[1:3]] == [1, 1]
    assert ids_of(texts[-1]) == [1, 7, 2]
    for same in (texts, list(texts)):
        assert lengths_of(same) == [2, 4, 0, 3]
        assert cut_tokens_of(same) == [0, 0, 0, 0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_of_parts_of_requests_is_that_of_their_texts(side: str) -> None:
    config = TextPreprocess(max_tokens=9, padding_side=side, pad_id=4, pad_type_id=3)  # type: ignore[arg-type]
    inputs = ["input_ids", "attention_mask", "token_type_ids", "pooling_mask"]
    single = [TokenizedText.of([1, 8, 2], [0, 1, 1], prompt_tokens=2)]
    bulk = many([1, 5, 2], [1, 6, 6, 2], [1, 7, 2], [1, 7, 7, 2], [1, 9, 2], prompt_tokens=1)
    for parts in ([(bulk, [4, 0])], [(bulk, [1, 3]), (single, [0]), (bulk, [2, 0])], [(list(bulk), [0, 2])]):
        texts = [request[place] for request, places in parts for place in places]
        found, expected = pad(gather(parts), config, inputs, 5), collate(texts, config, inputs, 5)
        for name in inputs:
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dtype == np.int64
