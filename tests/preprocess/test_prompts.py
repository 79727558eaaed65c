"""Which prompt a request gets: the rules of encode, encode_query and encode_document."""

import pytest

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.prompts import PromptChoice, prompts_of, resolve_prompt
from ingrain.repository.manifest import TextPreprocess

CONFIG = TextPreprocess(
    max_tokens=8, prompts={"query": "query: ", "passage": "passage: ", "none": ""}, default_prompt_name="passage"
)


@pytest.mark.parametrize(
    ("choice", "prompt"),
    [
        (PromptChoice(), None),
        (PromptChoice(name="query"), "query: "),
        (PromptChoice(name="none"), ""),
        (PromptChoice(name="document"), ""),
        (PromptChoice(text="about: "), "about: "),
        (PromptChoice(text=""), ""),
        (PromptChoice(input_type="query"), "query: "),
        (PromptChoice(input_type="document"), ""),
        (PromptChoice(input_type="query", name="passage"), "passage: "),
        (PromptChoice(input_type="query", text="about: "), "about: "),
    ],
    ids=str,
)
def test_the_more_exact_word_wins(choice, prompt):
    """None stands for the model's default, an empty prompt for none at all."""
    assert resolve_prompt(choice, CONFIG, "m") == prompt


def test_an_unknown_name_is_refused_with_the_names_that_there_are():
    with pytest.raises(InvalidRequestError, match="'document', 'none', 'passage', 'query'") as caught:
        resolve_prompt(PromptChoice(name="corpus"), CONFIG, "m")
    assert caught.value.param == "promptName"
    assert caught.value.facts == {"promptNames": ["document", "none", "passage", "query"]}


def test_a_prompt_and_a_name_are_too_much():
    with pytest.raises(InvalidRequestError, match="one of them"):
        resolve_prompt(PromptChoice(text="", name="query"), CONFIG, "m")


def test_every_text_model_has_the_two_names_of_sentence_transformers():
    assert prompts_of(TextPreprocess(max_tokens=8)) == {"query": "", "document": ""}
