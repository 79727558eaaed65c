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


# As the authors of well-known models call their prompts.
E5 = {"query": "query: ", "passage": "passage: "}
NOMIC = {"query": "search_query: ", "document": "search_document: ", "clustering": "clustering: "}
GEMMA = {"query": "q | ", "document": "d | ", "Clustering": "c | ", "STS": "s | ", "Retrieval-query": "r | "}
JINA = {
    "retrieval.query": "Represent the query: ",
    "retrieval.passage": "Represent the document: ",
    "text-matching": "",
}


@pytest.mark.parametrize(
    ("prompts", "words", "prompt"),
    [
        (E5, ("query", "search_query", "retrieval.query", "RETRIEVAL_QUERY"), "query: "),
        (E5, ("passage", "search_document", "retrieval.passage", "RETRIEVAL_DOCUMENT"), "passage: "),
        (E5, ("document", "DOCUMENT"), ""),
        (NOMIC, ("query", "search_query", "retrieval.query"), "search_query: "),
        (NOMIC, ("document", "passage", "search_document"), "search_document: "),
        (NOMIC, ("clustering", "CLUSTERING", "separation"), "clustering: "),
        (GEMMA, ("Clustering", "clustering"), "c | "),
        (GEMMA, ("text-matching", "SEMANTIC_SIMILARITY", "sts"), "s | "),
        (GEMMA, ("retrieval.query", "RETRIEVAL_QUERY", "Retrieval-query"), "r | "),
        (JINA, ("retrieval.query", "search_query"), "Represent the query: "),
        (JINA, ("text-matching", "semantic_similarity"), ""),
        ({}, ("query", "search_query", "document", "retrieval.passage"), ""),
    ],
    ids=str,
)
def test_words_of_other_apis_take_the_models_own_prompt(prompts, words, prompt):
    config = TextPreprocess(max_tokens=8, prompts=prompts)
    for word in words:
        assert resolve_prompt(PromptChoice(input_type=word), config, "m") == prompt, word


@pytest.mark.parametrize(
    ("prompts", "word"), [({}, "clustering"), (E5, "text-matching"), (NOMIC, "code.query"), (E5, "x")]
)
def test_a_kind_of_text_without_a_prompt_is_refused(prompts, word):
    config = TextPreprocess(max_tokens=8, prompts=prompts)
    with pytest.raises(InvalidRequestError, match=f"task '{word}'.*'query'") as caught:
        resolve_prompt(PromptChoice(input_type=word, input_type_param="task"), config, "m")
    assert caught.value.param == "task"
