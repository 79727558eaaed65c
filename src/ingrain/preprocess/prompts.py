"""Which prompt goes before the texts of a request, by the rules of sentence-transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ingrain.errors import InvalidRequestError
from ingrain.repository.manifest import TextPreprocess

InputType = Literal["query", "document"]

# Every SentenceTransformer has these two, empty where its author gave none.
_ALWAYS_THERE: tuple[InputType, ...] = ("query", "document")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChoice:
    """What a request says of its prompt; at most one of ``text`` and ``name``.

    Attributes:
        text: The prompt itself; empty for none, not even the model's default.
        name: Name of one of the model's prompts.
        input_type: What the texts are; ``text`` and ``name`` go before it.
    """

    text: str | None = None
    name: str | None = None
    input_type: InputType | None = None


def prompts_of(config: TextPreprocess) -> dict[str, str]:
    """Return a model's prompts by name, as sentence-transformers has them in ``SentenceTransformer.prompts``."""
    return {**dict.fromkeys(_ALWAYS_THERE, ""), **config.prompts}


def resolve_prompt(choice: PromptChoice, config: TextPreprocess, model: str) -> str | None:
    """Return the prompt that a request chooses; None for the model's default.

    ``input_type`` does what ``encode_query`` and ``encode_document`` do: it takes the prompt of that name and, where
    that is empty, none at all. (``encode_document`` would look for ``passage`` and ``corpus`` too if there were no
    ``document``, but in a SentenceTransformer there always is.)

    Raises:
        InvalidRequestError: The model has no prompt of that name, or the request gives both a prompt and a name.
    """
    if choice.text is not None:
        if choice.name is not None:
            raise InvalidRequestError("Both 'prompt' and 'promptName' are given; give one of them.", param="promptName")
        return choice.text
    name = choice.name if choice.name is not None else choice.input_type
    if name is None:
        return None
    known = prompts_of(config)
    if name not in known:
        names = sorted(known)
        raise InvalidRequestError(
            f"Model {model!r} has no prompt called {name[:100]!r}. Its prompts are {', '.join(map(repr, names))}.",
            param="promptName",
            facts={"promptNames": names},
        )
    return known[name]
