"""Reads and answers the common requests for embeddings, which have a model and texts, at the cost of a native route.

The fields of all the APIs that share the route take as long to look through as the rest of a short request.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ingrain.api.openai import Dimensions
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.dialects.openai.input import looks_like_image
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, base64_rows, mark_truncated
from ingrain.server.plane.bodies import DecodedBody
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm

_WHOLE = VectorForm(dimensions_param="dimensions")


class TextObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text as Jina's clients send it."""

    text: str


class PlainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields that the clients of OpenAI, Voyage, Jina, vLLM and NIM send for texts."""

    model: str
    input: str | list[str | TextObject]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Dimensions = None
    user: str | None = None
    input_type: str | None = None
    task: str | None = None
    output_dtype: Literal["float"] | None = None
    truncation: bool | None = None
    normalized: bool | None = None
    truncate: Literal["END", "NONE"] | None = None
    truncate_prompt_tokens: Literal[-1] | None = None


_decoder = msgspec.json.Decoder(PlainRequest)


def read_plain(services: Services, request: Request) -> PlainRequest | None:
    """Return the body if it is a plain one; None for any other, which may be wrong or hold images."""
    if type(request.body) is DecodedBody:
        return None
    try:
        body = _decoder.decode(request.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if body.truncation is False or body.normalized is False or (body.input_type and body.task):
        return None
    if body.truncate == "NONE" and (body.truncation or body.truncate_prompt_tokens):
        return None
    if isinstance(body.input, str):
        is_plain = not looks_like_image(body.input)
    else:
        items: list[Any] = body.input  # all texts, or all objects
        kinds = set(map(type, items))
        is_plain = (kinds == {str} and not any(map(looks_like_image, items))) or kinds == {TextObject}
        is_plain = is_plain and len(items) <= services.limits.openai_max_items
    return body if is_plain and body.model else None


def embed_plain(services: Services, request: Request, body: PlainRequest, model: str) -> Work[EmbeddedTexts]:
    """Embed the texts of a plain body with a model."""
    given, as_base64 = body.input, body.encoding_format == "base64"
    prompt = None
    if body.input_type is not None:
        prompt = PromptChoice(input_type=body.input_type, input_type_param="input_type")
    elif body.task is not None:
        prompt = PromptChoice(input_type=body.task, input_type_param="task")
    texts = Texts(
        texts=[given] if isinstance(given, str) else [item if isinstance(item, str) else item.text for item in given],
        prompt=prompt,
        truncate=body.truncate != "NONE",
        cut_side="right" if body.truncate == "END" else None,
        param="input",
        is_list=not isinstance(given, str),
        cache_group=cache_group(services, request),
    )
    form = _WHOLE
    if body.dimensions is not None:
        form = VectorForm(dimensions=body.dimensions, dimensions_param="dimensions")

    def respond(done: EmbeddedTexts) -> Response:
        rows = base64_rows(done.vectors) if as_base64 else done.vectors
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        tokens = done.tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": model, "usage": usage}
        return mark_truncated(array_answer(answer), done)

    return Work(EmbedTexts(ModelName(name=model), texts, form), respond)
