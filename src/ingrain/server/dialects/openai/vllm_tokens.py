"""vLLM's routes for the tokens of a text."""

from __future__ import annotations

from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.dialects.openai import vllm_types as types
from ingrain.server.dialects.openai.vllm import name_of_any
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.services import Services
from ingrain.tasks.texts import Texts
from ingrain.tasks.tokenize import decode_ids, tokenize_texts


async def tokenize(services: Services, request: Request) -> Response:
    """Return the tokens of a text without any prompt of the model."""
    body = decode(request.body, types.VllmTokenizeRequest)
    name = name_of_any(services, body.model)
    texts = Texts(texts=[body.prompt], prompt=PromptChoice(text=""), param="prompt", is_list=False)
    (tokens,) = await tokenize_texts(services.pipeline, name, texts, with_special=body.add_special_tokens is not False)
    model = await services.pipeline.model(name)
    assert model.text is not None
    answer = types.VllmTokenizeAnswer(
        count=len(tokens),
        max_model_len=model.text.config.max_tokens,
        tokens=[token.id for token in tokens],
        token_strs=[token.text for token in tokens] if body.return_token_strs else None,
    )
    return struct_answer(answer)


async def detokenize(services: Services, request: Request) -> Response:
    """Return the text of tokens."""
    body = decode(request.body, types.VllmDetokenizeRequest)
    name = name_of_any(services, body.model)
    ids = Texts(token_ids=[body.tokens], param="tokens", is_list=False)
    (text,) = await decode_ids(services.pipeline, name, ids, skip_special_tokens=False)
    return struct_answer(types.VllmDetokenizeAnswer(prompt=text))
