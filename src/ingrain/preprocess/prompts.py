"""Chooses the prompt for a request's texts by the rules of sentence-transformers."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from ingrain.errors import InvalidRequestError
from ingrain.repository.manifest import TextPreprocess
from ingrain.vocabulary import InputType

# Every SentenceTransformer has these two prompts; they are empty unless its author set them.
_ALWAYS_THERE: tuple[InputType, ...] = ("query", "document")

# Synonyms of input types in other APIs and of prompt names, folded. Every model accepts queries and documents, even
# without a prompt for them. Other input types need a prompt of the model.
_QUERY = ("query", "search-query", "retrieval-query")
_DOCUMENT = ("document", "passage", "search-document", "retrieval-document", "retrieval-passage", "corpus")
_SIMILARITY = ("text-matching", "semantic-similarity", "sts")
_CLUSTERING = ("clustering", "separation")
_SYNONYMS = (_QUERY, _DOCUMENT, _SIMILARITY, _CLUSTERING)


class PromptChoice(msgspec.Struct, frozen=True, kw_only=True):  # a dataclass takes ten times as long to create
    """The prompt fields of a request; at most one of ``text`` and ``name`` is given.

    Attributes:
        text: The prompt itself; an empty text switches off the model's default prompt, too.
        name: Name of one of the model's prompts.
        input_type: Kind of text, used if neither ``text`` nor ``name`` is given: ``query``, ``document`` or a term of
            another API such as ``search_document``, ``retrieval.passage``, ``clustering``.
        input_type_param: Name of the ``input_type`` field in the request, for errors.
        needs_prompt: False to accept any ``input_type`` for a model without prompts, which treats all texts alike.
    """

    text: str | None = None
    name: str | None = None
    input_type: str | None = None
    input_type_param: str = "inputType"
    needs_prompt: bool = True


def prompts_of(config: TextPreprocess) -> dict[str, str]:
    """Return a model's prompts by name, as ``SentenceTransformer.prompts`` holds them."""
    return {**dict.fromkeys(_ALWAYS_THERE, ""), **config.prompts}


def resolve_prompt(choice: PromptChoice, config: TextPreprocess, model: str) -> str | None:
    """Return the prompt that a request selects; None for the model's default.

    ``input_type`` works like ``encode_query`` and ``encode_document``: it selects the prompt of that name, which may be
    empty. (``encode_document`` falls back to ``passage`` and ``corpus`` only if there is no prompt ``document``, but a
    SentenceTransformer always has it.) A term of another API selects the prompt of that name or of a synonym.

    Raises:
        InvalidRequestError: The model has no prompt of that name, or the request gives both a prompt and a name.
    """
    if choice.text is not None:
        if choice.name is not None:
            raise InvalidRequestError("Both 'prompt' and 'promptName' are given; give one of them.", param="promptName")
        return choice.text
    name, input_type = choice.name, choice.input_type
    is_without = name is None and input_type is not None and not any(config.prompts.values())
    if is_without and (not choice.needs_prompt or _names_for(input_type, _ALWAYS_THERE)):
        return ""
    known = prompts_of(config)
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
    """Return the same word for all synonyms of an input type."""
    folded = _fold(input_type)
    return next((group[0] for group in _SYNONYMS if folded in group), folded)


def _prompt_for(choice: PromptChoice, known: dict[str, str], model: str) -> str:
    word = choice.input_type
    assert word is not None
    if word in known or word.lower() in _ALWAYS_THERE:
        return known[word if word in known else word.lower()]
    if found := _names_for(word, tuple(known)):
        return next(filter(None, (known[name] for name in found)), "")
    if not choice.needs_prompt and not any(known.values()):
        return ""
    names = sorted(known)
    raise InvalidRequestError(
        f"Model {model!r} has no prompt for {choice.input_type_param} {word[:100]!r}. Its prompts are "
        f"{', '.join(map(repr, names))}; words for a query (search_query, retrieval.query) and a document (passage, "
        "search_document, retrieval.passage) are accepted too.",
        param=choice.input_type_param,
        facts={"promptNames": names},
    )


@lru_cache(maxsize=1024)
def _names_for(word: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of a model's names of prompts that mean the same as an input type, the most similar one first."""
    folded = _fold(word)
    names = {_fold(name): name for name in known}
    synonyms = next((group for group in _SYNONYMS if folded in group), ())
    return tuple(names[name] for name in (folded, *synonyms) if name in names)


def _fold(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
