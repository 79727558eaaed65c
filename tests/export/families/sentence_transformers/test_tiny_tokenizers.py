"""The tiny models' tokenizers are the same each time, or what is measured with them would not be."""

import pytest

from tiny_tokenizers import build_tokenizer


@pytest.mark.parametrize(
    ("kind", "template", "pieces"),
    [
        ("wordpiece", "cls_sep", ["[CLS]", "the", "r", "##iver", "r", "##un", "##s", "今", "天", "[SEP]"]),
        ("roberta", "bos_eos", ["<s>", "Ġthe", "Ġr", "iver", "Ġrun", "s", "Ġä", "»", "Ĭ", "å¤©", "</s>"]),
        ("bytes", "eos", ["th", "e", "Ġr", "iver", "Ġr", "un", "s", "Ġ", "ä»", "Ĭ", "å¤©", "<|end|>"]),
        ("unigram", "bos_eos", ["<s>", "▁the", "▁river", "▁run", "s", "▁", "今", "天", "</s>"]),
        ("t5", "eos", ["▁the", "▁river", "▁run", "s", "▁", "今", "天", "</s>"]),
    ],
)
def test_a_tokenizer_cuts_text_into_the_same_pieces_each_time(kind, template, pieces):
    one, other = build_tokenizer(kind, template), build_tokenizer(kind, template)
    assert one.convert_ids_to_tokens(one("the river runs 今天").input_ids) == pieces
    assert one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()
