"""Routes of the tokenizer."""

from __future__ import annotations

from typing import cast

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.dialects.tei import types
from ingrain.server.dialects.tei.errors import empty
from ingrain.server.dialects.tei.inputs import any_model_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, typed_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.services import Services
from ingrain.tasks.texts import Texts
from ingrain.tasks.tokenize import decode_ids, tokenize_texts


async def tokenize(services: Services, request: Request) -> Response:
    """Return the tokens of texts."""
    body = decode(request.body, types.TeiTokenizeRequest)
    if not body.inputs and isinstance(body.inputs, list):
        raise empty("inputs")
    texts = Texts(
        texts=[body.inputs] if isinstance(body.inputs, str) else body.inputs,
        prompt=PromptChoice(name=body.prompt_name) if body.prompt_name is not None else None,
        param="inputs",
        is_list=not isinstance(body.inputs, str),
    )
    name = any_model_of(services, request)
    return typed_answer(await tokenize_texts(services.pipeline, name, texts, with_special=body.add_special_tokens))


async def decode_tokens(services: Services, request: Request) -> Response:
    """Return the texts of token ids."""
    body = decode(request.body, types.TeiDecodeRequest)
    if not body.ids:
        raise empty("ids")
    kind = type(body.ids[0])
    if set(map(type, body.ids)) != {kind}:
        raise InvalidRequestError("ids must be a list of token ids, or a list of such lists.", param="ids")
    rows = [cast("list[int]", body.ids)] if kind is int else cast("list[list[int]]", body.ids)
    ids = Texts(token_ids=rows, param="ids", is_list=kind is list)
    name = any_model_of(services, request)
    return array_answer(await decode_ids(services.pipeline, name, ids, skip_special_tokens=body.skip_special_tokens))
