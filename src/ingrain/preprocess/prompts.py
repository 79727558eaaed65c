"""Which prompt goes before the texts of a request, by the rules of sentence-transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ingrain.errors import InvalidRequestError
from ingrain.repository.manifest import TextPreprocess

InputType = Literal["query", "document"]

# Every SentenceTransformer has these two, empty where its author gave none.
_ALWAYS_THERE: tuple[InputType, ...] = ("query", "document")

# What other APIs call the kinds of texts, and authors their prompts; folded. Since the two above are always there,
# every model takes a query and a document, as it is if need be. Of the other kinds it has a prompt, or knows nothing.
_QUERY = ("query", "search-query", "retrieval-query")
_DOCUMENT = ("document", "passage", "search-document", "retrieval-document", "retrieval-passage", "corpus")
_SIMILARITY = ("text-matching", "semantic-similarity", "sts")
_CLUSTERING = ("clustering", "separation")
_FAMILIES = (_QUERY, _DOCUMENT, _SIMILARITY, _CLUSTERING)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChoice:
    """What a request says of its prompt; at most one of ``text`` and ``name``.

    Attributes:
        text: The prompt itself; empty for none, not even the model's default.
        name: Name of one of the model's prompts.
        input_type: What the texts are; ``text`` and ``name`` go before it. Beside ``query`` and ``document`` any word
            that another API has for it: ``search_document``, ``retrieval.passage``, ``clustering``.
        input_type_param: What the caller calls ``input_type``, for errors.
    """

    text: str | None = None
    name: str | None = None
    input_type: str | None = None
    input_type_param: str = "inputType"


def prompts_of(config: TextPreprocess) -> dict[str, str]:
    """Return a model's prompts by name, as sentence-transformers has them in ``SentenceTransformer.prompts``."""
    return {**dict.fromkeys(_ALWAYS_THERE, ""), **config.prompts}


def resolve_prompt(choice: PromptChoice, config: TextPreprocess, model: str) -> str | None:
    """Return the prompt that a request chooses; None for the model's default.

    ``input_type`` does what ``encode_query`` and ``encode_document`` do: it takes the prompt of that name and, where
    that is empty, none at all. (``encode_document`` would look for ``passage`` and ``corpus`` too if there were no
    ``document``, but in a SentenceTransformer there always is.) Words of other APIs take the prompt of that name or,
    where there is none, that of a name which means the same.

    Raises:
        InvalidRequestError: The model has no prompt of that name, or the request gives both a prompt and a name.
    """
    if choice.text is not None:
        if choice.name is not None:
            raise InvalidRequestError("Both 'prompt' and 'promptName' are given; give one of them.", param="promptName")
        return choice.text
    name, known = choice.name, prompts_of(config)
    if name is None:
        return _prompt_for(choice, known, model) if choice.input_type is not None else None
    if name not in known:
        names = sorted(known)
        raise InvalidRequestError(
            f"Model {model!r} has no prompt called {name[:100]!r}. Its prompts are {', '.join(map(repr, names))}.",
            param="promptName",
            facts={"promptNames": names},
        )
    return known[name]


def meaning_of(input_type: str) -> str:
    """Return the same word for all words that mean the same kind of text."""
    folded = _fold(input_type)
    return next((family[0] for family in _FAMILIES if folded in family), folded)


def _prompt_for(choice: PromptChoice, known: dict[str, str], model: str) -> str:
    word = choice.input_type
    assert word is not None
    if word in known or word.lower() in _ALWAYS_THERE:
        return known[word if word in known else word.lower()]
    folded = _fold(word)
    prompts = {_fold(name): prompt for name, prompt in known.items()}
    family = next((family for family in _FAMILIES if folded in family), ())
    found = [prompts[name] for name in (folded, *family) if name in prompts]
    if found:
        return next(filter(None, found), "")
    names = sorted(known)
    raise InvalidRequestError(
        f"Model {model!r} has no prompt for {choice.input_type_param} {word[:100]!r}. Its prompts are "
        f"{', '.join(map(repr, names))}; words for a query (search_query, retrieval.query) and a document (passage, "
        "search_document, retrieval.passage) are taken too.",
        param=choice.input_type_param,
        facts={"promptNames": names},
    )


def _fold(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
