"""Makes the requests for the texts of a call."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, TypeAlias

from ingrain.client.answers import Part
from ingrain.client.items import Cut, Items, article, check_container, groups, refusal
from ingrain.client.requests import InputType, ModelName
from ingrain.client.rows import Calls, ReadFor, RowOptions, row_calls
from ingrain.client.token_vectors import matrices_reader
from ingrain.errors import InvalidRequestError

Texts: TypeAlias = "str | Iterable[str]"
"""One text or several: a list, a column of a table (pandas, polars, Arrow, numpy, datasets), a generator."""
AsyncTexts: TypeAlias = "Texts | AsyncIterable[str]"
"""One text or several, as in ``Texts``, or an asynchronous generator."""

# Limit of characters in a request of several texts, because long texts take as much time as many short ones.
MOST_CHARS = 200_000
# About 10,000 tokens, each with a vector in the answer: 5 to 40 MB.
MOST_TOKEN_CHARS = 40_000


def texts_of(given: object) -> Items[Any]:
    """Return an iterable of texts; a single text becomes a list.

    Raises:
        InvalidRequestError: ``given`` is not a sequence of texts.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes | bytearray | memoryview):
        raise refusal("text", given, "decode it: text.decode()")
    return check_container(given, "text")


def text_fields(
    prompt: str | None, prompt_name: str | None, input_type: InputType | None, truncate: bool, token_counts: bool
) -> dict[str, object]:
    """Return a request's fields for its texts; fields that are None are not sent."""
    return {
        "prompt": prompt,
        "promptName": prompt_name,
        "inputType": input_type,
        "truncate": None if truncate else False,
        "tokenCounts": token_counts or None,
    }


def text_calls(
    route: str,
    model: ModelName,
    texts: Items[Any],
    fields: Mapping[str, object],
    options: RowOptions,
    most: int,
    read_for: ReadFor | None = None,
    *,
    heaviest: int = MOST_CHARS,
) -> Calls[Part]:
    """Yield the requests of a route for texts.

    Args:
        route: The route.
        model: The model.
        texts: The texts.
        fields: Further fields of the requests.
        options: Form of the rows.
        most: Limit of texts in a request.
        read_for: As in ``row_calls``.
        heaviest: Limit of characters in a request of several texts.
    """
    cut = Cut(field="text", read=_read_text, weigh=len, most=most, heaviest=heaviest, skip_none=options.skip_none)
    return row_calls(route, model, "text", groups(texts, cut), fields, options, read_for=read_for)


def token_calls(
    route: str, model: ModelName, texts: Items[Any], fields: Mapping[str, object], options: RowOptions, most: int
) -> Calls[Part]:
    """Yield the requests of a route that answers several vectors for each text."""
    cut = Cut(
        field="text", read=_read_text, weigh=len, most=most, heaviest=MOST_TOKEN_CHARS, skip_none=options.skip_none
    )
    return row_calls(route, model, "text", groups(texts, cut), fields, options, reader=matrices_reader)


def _read_text(item: object, at: str) -> str:
    if isinstance(item, str):
        return item
    kind = type(item).__name__
    advice = "decode it first" if isinstance(item, bytes) else "texts are str"
    raise InvalidRequestError(f"{at} is {article(kind)} {kind}, not a text; {advice}.", param=at)
