"""Tokenizes texts for callers who want the tokens themselves, and turns token ids back into texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from functools import partial
from typing import TypeVar

from ingrain.errors import InvalidRequestError, ModalityError, TextTooLongError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.special_tokens import CutSide
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.text_cleaning import clean_texts
from ingrain.preprocess.tokenized import PlacedToken
from ingrain.tasks.texts import Texts, check_texts, choose_prompt

Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")

# An answer has some sixty bytes for each token, and a token may be of one character.
_MOST = 500_000
# What takes less time than handing it to a thread, and what takes a thread about 10 ms; an item counts as ten more.
_INLINE, _SLICE, _ITEM = 2_000, 16_000, 10


async def tokenize_texts(
    pipeline: Pipeline, name: ModelName, texts: Texts, *, with_special: bool = True
) -> list[list[PlacedToken]]:
    """Return the tokens of each text, also of one that is too long for the model.

    Args:
        pipeline: Finds the model.
        name: The model.
        texts: The texts and their prompt; their truncation does not matter.
        with_special: False to leave out the special tokens around each text.

    Raises:
        TooLargeError: There are too many texts or characters.
        ModalityError: The model takes no text.
        TokenizerError: The tokenizer failed on a text.
    """
    model, tokenizer = await _open(pipeline, name, texts, "characters")
    prompt = choose_prompt(texts, model, pipeline.limits)
    work = partial(tokenizer.place_tokens, prompt=prompt, with_special=with_special)
    return await _each(pipeline, model, work, texts.texts)


async def decode_ids(pipeline: Pipeline, name: ModelName, ids: Texts, *, skip_special_tokens: bool = True) -> list[str]:
    """Return the text of each row of token ids.

    Args:
        pipeline: Finds the model.
        name: The model.
        ids: Token ids of the model's own tokenizer.
        skip_special_tokens: False to write the special tokens, too.

    Raises:
        TooLargeError: There are too many rows or ids.
        ModalityError: The model takes no text.
        TokenizerError: The tokenizer failed on a row.
    """
    model, tokenizer = await _open(pipeline, name, ids, "token ids")
    work = partial(tokenizer.decode, skip_special_tokens=skip_special_tokens)
    return await _each(pipeline, model, work, ids.token_ids or ())


async def shorten_texts(pipeline: Pipeline, name: ModelName, texts: Texts, most: int) -> list[str]:
    """Return texts of which those with more than ``most`` tokens are cut, on the ``cut_side`` of ``texts``.

    Prompts and special tokens are not counted. A limit that is not below the model's own cuts nothing.

    Raises:
        TextTooLongError: A text has more tokens, and its ``truncate`` is False.
        InvalidRequestError: The model's texts are divided into words first, so they cannot be cut.
        TooLargeError: There are too many texts, or a text has too many characters.
        ModalityError, TokenizerError: As for ``tokenize_texts``.
    """
    model, tokenizer = await _tokenizer_of(pipeline, name)
    if most >= tokenizer.config.max_tokens:
        return list(texts.texts)
    check_texts(pipeline.limits, texts)
    for index, text in enumerate(texts.texts):
        _check_size(texts.name(index), len(text), "characters")
    if tokenizer.config.words is not None:
        raise InvalidRequestError(f"Model {name.name!r} has no limit of tokens besides its own.", param=texts.param)
    work = partial(_shortened, tokenizer, most, texts.cut_side or tokenizer.cut_side)
    done = await _each(pipeline, model, work, texts.texts)
    for index, (_, tokens) in enumerate(done):
        if tokens > most and not texts.truncate:
            raise TextTooLongError(
                f"{texts.name(index)} has {tokens} tokens; the request allows {most}.",
                param=texts.name(index),
                facts={"index": texts.place(index), "tokens": tokens, "limit": most},
            )
    return [text for text, _ in done]


def _shortened(tokenizer: TextPreprocessor, most: int, side: CutSide, text: str) -> tuple[str, int]:
    """Return a text with at most so many tokens, and how many it had."""
    placed = tokenizer.place_tokens(text, prompt="", with_special=False)
    if len(placed) <= most:
        return text, len(placed)
    (clean,) = clean_texts([text], tokenizer.config.clean)
    cut = clean[placed[-most].start :] if side == "left" else clean[: placed[most - 1].stop]
    return cut, len(placed)


async def _open(pipeline: Pipeline, name: ModelName, given: Texts, what: str) -> tuple[LoadedModel, TextPreprocessor]:
    """Check the size of a request, and return its model."""
    check_texts(pipeline.limits, given)
    total = sum(map(len, given.texts if given.token_ids is None else given.token_ids))
    _check_size(given.param, total, f"{what} in all")
    return await _tokenizer_of(pipeline, name)


def _check_size(param: str, size: int, what: str) -> None:
    if size > _MOST:
        raise TooLargeError(
            f"{param} has {size} {what}; the limit is {_MOST}. Send fewer at a time.",
            param=param,
            facts={"limit": _MOST},
        )


async def _tokenizer_of(pipeline: Pipeline, name: ModelName) -> tuple[LoadedModel, TextPreprocessor]:
    model = await pipeline.model(name)
    if model.text is None:
        raise ModalityError(f"Model {name.name!r} does not take text, so it has no tokenizer.", param="name")
    return model, model.text


async def _each(
    pipeline: Pipeline, model: LoadedModel, work: Callable[[Item], Result], items: Sequence[Item]
) -> list[Result]:
    """Do the work for each item: here if that is quick, else in slices in the threads for long texts."""
    if _ITEM * len(items) + sum(map(len, items)) <= _INLINE:
        return [work(item) for item in items]
    slices = []
    first = size = 0
    for end, item in enumerate(items, 1):
        size += len(item) + _ITEM
        if size >= _SLICE or end == len(items):
            slices.append((partial(_of_some, work, items[first:end]), size))
            first, size = end, 0
    done = await model.text_threads.run(slices, timeout_s=pipeline.limits.timeout_s)
    return [result for some in done for result in some]


def _of_some(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]
