"""Token ids that a caller made become what the tokenizer itself makes of the text."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.token_vectors import apply_rules, vector_counts
from ingrain.repository.manifest import TextPreprocess
from ingrain.repository.token_rules import TokenRules
from token_ids import ids_of

WORDS = ["<pad>", "<s>", "</s>", "<cls>", "<unk>", "a", "river", "stone", "sea"]
TEMPLATES = {
    "none": None,
    "bert": "<s> $A </s>",
    "t5": "$A </s>",
    "xlnet": "$A:0 </s>:0 <cls>:2",
}
TEXTS = ["river", "a river", "stone sea", "river stone sea a river stone sea a"]
MAX_TOKENS = 6


def preprocessor(folder, template, *, side="right", zeroed_id=None, max_tokens=MAX_TOKENS):
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template is not None:
        named = [(token, WORDS.index(token)) for token in ("<s>", "</s>", "<cls>")]
        tokenizer.post_processor = processors.TemplateProcessing(template, None, named)
    tokenizer.enable_truncation(max_tokens, direction=side)
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextPreprocessor(TextPreprocess(max_tokens=max_tokens, zeroed_id=zeroed_id), folder)


def name(index):
    return f"input[{index}]"


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_ids_with_and_without_special_tokens_are_the_text(tmp_path, template, side):
    """Ids, token types and what was cut, for texts that fit and for one that does not."""
    made = preprocessor(tmp_path, template, side=side)
    expected = made.encode(TEXTS)
    bare = [[WORDS.index(word) for word in text.split()] for text in TEXTS]
    assert made.take_ids(bare, name=name) == expected
    assert made.take_ids([ids_of(item) for item in expected[:3]], name=name) == expected[:3]
    assert expected[3].cut_tokens == 8 - (MAX_TOKENS - made._special.count)
    assert [item.cut_tokens for item in expected[:3]] == [0, 0, 0]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_text_is_shortened_as_by_a_tokenizer_with_that_limit(tmp_path, template, side):
    made = preprocessor(tmp_path, template, side=side)
    lower = preprocessor(tmp_path, template, side=side, max_tokens=4)
    assert [made.special.shorten(item, 4) for item in made.encode(TEXTS)] == lower.encode(TEXTS)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_shortened_document_keeps_the_rules_of_its_vectors(tmp_path, side):
    """A late-interaction model has no vectors of some tokens."""
    made = preprocessor(tmp_path, "<s> $A </s>", side=side)
    lower = preprocessor(tmp_path, "<s> $A </s>", side=side, max_tokens=4)
    rules = TokenRules(dropped_ids=(6,))
    whole, wanted = ([apply_rules(item, rules) for item in of.encode(TEXTS)] for of in (made, lower))
    cut = [made.special.shorten(item, 4) for item in whole]
    assert list(map(ids_of, cut)) == list(map(ids_of, wanted))
    assert vector_counts(cut) == vector_counts(wanted)
    query = apply_rules(made.encode(TEXTS)[0], TokenRules(expand_to=6, expansion_id=5))
    assert made.special.shorten(query, 4) == query


def test_an_id_is_zeroed_as_in_a_text(tmp_path):
    made = preprocessor(tmp_path, "<s> $A </s>", zeroed_id=2)
    assert made.take_ids([[6]], name=name) == made.encode(["river"])


@pytest.mark.parametrize(("row", "wrong"), [([6, 9], "9"), ([-1], "-1"), ([2**70], str(2**70))])
def test_ids_that_the_vocabulary_lacks_are_refused(tmp_path, row, wrong):
    with pytest.raises(InvalidRequestError, match=f"{wrong}; the ids of this model are 0 to 8") as caught:
        preprocessor(tmp_path, None).take_ids([[5], row], name=name)
    assert caught.value.param == "input[1]"


def test_a_vocabulary_with_holes_ends_at_its_last_id(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "river": 40}, unk_token="<unk>"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    made = TextPreprocessor(TextPreprocess(max_tokens=6), tmp_path)
    assert ids_of(made.take_ids([[40]], name=name)[0]) == [40]
    with pytest.raises(InvalidRequestError, match="0 to 40"):
        made.take_ids([[41]], name=name)
