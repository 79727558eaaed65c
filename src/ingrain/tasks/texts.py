"""Texts of a request: their limits, their prompt, and their way to token ids."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingrain.errors import InvalidRequestError, ModalityError, TextTooLongError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import RequestLimits
from ingrain.preprocess.prompts import PromptChoice, resolve_prompt
from ingrain.preprocess.special_tokens import CutSide
from ingrain.preprocess.text import TextPreprocessor, TokenizedText
from ingrain.tasks.item_limit import check_count

MOST_ADDED_CHARS = 10_000_000
"""Most characters that prompts, or templates, may add to the texts of one request."""

# Tokenizing so much takes less time than handing it to a thread.
_INLINE_CHARS = 4_000
_INLINE_TEXTS = 32


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of a request, and how they become tokens.

    Attributes:
        texts: The texts; empty where ``token_ids`` are given.
        token_ids: Token ids by text, of the model's own tokenizer, in the place of texts.
        prompt: Which prompt goes before them; None for the model's default.
        truncate: False to refuse a text that is longer than the model takes, instead of cutting it.
        cut_side: Where to cut it; where the source library does if None.
        param: The caller's name of the field, for errors.
        places: Index of each in the caller's list, where they are a part of it.
        is_list: False where the caller gave one text by itself.
    """

    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] | None = None
    prompt: PromptChoice | None = None
    truncate: bool = True
    cut_side: CutSide | None = None
    param: str = "text"
    places: Sequence[int] | None = None
    is_list: bool = True

    def __len__(self) -> int:
        return len(self.texts if self.token_ids is None else self.token_ids)

    def place(self, index: int) -> int:
        """Return a text's index in the caller's list."""
        return index if self.places is None else self.places[index]

    def name(self, index: int) -> str:
        """Return the caller's name of one of the texts."""
        return f"{self.param}[{self.place(index)}]" if self.is_list else self.param


def check_texts(limits: RequestLimits, texts: Texts) -> None:
    """Refuse too many texts, and texts that are too long."""
    param, longest = texts.param, limits.max_text_chars
    given = texts.texts if texts.token_ids is None else texts.token_ids
    check_count(limits, len(given), param, "texts" if param == "text" else param)
    for index, text in enumerate(given):
        if len(text) > longest:
            what = "characters" if texts.token_ids is None else "token ids"
            raise TooLargeError(
                f"{texts.name(index)} has {len(text)} {what}; the limit is {longest} (INGRAIN_MAX_TEXT_CHARS).",
                param=texts.name(index),
                facts={"limit": longest},
            )
    if texts.token_ids is not None and texts.prompt is not None:
        raise InvalidRequestError(
            "A prompt goes before text, not before token ids of the model's own tokenizer.", param=param
        )


def choose_prompt(texts: Texts, model: LoadedModel, limits: RequestLimits) -> str | None:
    """Return the prompt that goes before the texts; None for the model's default.

    Raises:
        ModalityError: The model does not take text.
        InvalidRequestError: The model has no such prompt.
        TooLargeError: The prompt makes the texts too long; told before it is put before every text.
    """
    if model.text is None:
        raise ModalityError(f"Model {model.manifest.name!r} does not take text.", param=texts.param)
    if texts.prompt is None:
        return None
    prompt = resolve_prompt(texts.prompt, model.text.config, model.manifest.name)
    if prompt and texts.texts:
        longest, limit = len(prompt) + max(map(len, texts.texts)), limits.max_text_chars
        if longest > limit or len(prompt) * len(texts.texts) > MOST_ADDED_CHARS:
            raise TooLargeError(
                f"The prompt makes the texts longer than {limit} characters each (INGRAIN_MAX_TEXT_CHARS), or adds "
                f"more than {MOST_ADDED_CHARS} in all.",
                param="prompt",
                facts={"limit": limit},
            )
    return prompt


def is_short(texts: Texts, prompt: str | None) -> bool:
    """Tell whether texts are tokenized in less time than a thread takes to start."""
    given = texts.texts
    return (
        texts.token_ids is None
        and len(given) <= _INLINE_TEXTS
        and sum(map(len, given)) + len(prompt or "") <= _INLINE_CHARS
    )


def tokenize(texts: Texts, prompt: str | None, tokenizer: TextPreprocessor) -> list[TokenizedText]:
    """Return the token ids of each text.

    Raises:
        TextTooLongError: A text is too long, and must not be cut.
        InvalidRequestError: A token id is not one of the model's.
    """
    if texts.token_ids is not None:
        items = tokenizer.take_ids(texts.token_ids, name=texts.name, cut_side=texts.cut_side)
    else:
        items = tokenizer.encode(texts.texts, prompt=prompt, cut_side=texts.cut_side)
    if not texts.truncate:
        _refuse_cut(texts, items, tokenizer.config.max_tokens)
    return items


def _refuse_cut(texts: Texts, items: Sequence[TokenizedText], limit: int) -> None:
    for index, item in enumerate(items):
        if item.cut_tokens:
            length = len(item) + item.cut_tokens
            raise TextTooLongError(
                f"{texts.name(index)} has {length} tokens; the model takes {limit}. Shorten it, or let it be cut by "
                "`truncate: true`.",
                param=texts.name(index),
                facts={"index": texts.place(index), "tokens": length, "limit": limit},
            )
