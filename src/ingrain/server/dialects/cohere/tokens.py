"""Routes that turn a text into tokens of a model, and tokens into a text."""

from __future__ import annotations

from ingrain.pipeline.task import ModelName
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.dialects.cohere import types
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.services import Services
from ingrain.tasks.texts import Texts
from ingrain.tasks.tokenize import decode_ids, tokenize_texts

_META = types.CohereApiMeta(api_version=types.CohereApiVersion(version="1"))


async def tokenize(services: Services, request: Request) -> Response:
    """Return the tokens of a text, without special tokens and without a prompt."""
    body = decode(request.body, types.CohereTokenizeRequest)
    texts = Texts(texts=[body.text], prompt=PromptChoice(text=""), param="text", is_list=False)
    (tokens,) = await tokenize_texts(services.pipeline, ModelName(name=body.model), texts, with_special=False)
    return struct_answer(
        types.CohereTokenizeAnswer(
            tokens=[token.id for token in tokens], token_strings=[token.text for token in tokens], meta=_META
        )
    )


async def detokenize(services: Services, request: Request) -> Response:
    """Return the text of tokens; tokens that the model does not have are left out."""
    body = decode(request.body, types.CohereDetokenizeRequest)
    ids = Texts(token_ids=[body.tokens], param="tokens", is_list=False)
    (text,) = await decode_ids(services.pipeline, ModelName(name=body.model), ids)
    return struct_answer(types.CohereDetokenizeAnswer(text=text, meta=_META))
