"""Routes that embed the tokens of texts."""

from __future__ import annotations

import time

from ingrain.api.token_vectors import (
    EmbedMultiVectorRequest,
    EmbedTokensRequest,
    MultiVectorAnswer,
    TokensAnswer,
)
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.route import Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.server.plane.token_answers import MOST_RAW_TEXTS, TOKEN_MEDIA, chosen_media, token_vectors_answer
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import EmbedTokens, TokenForm, TokenVectors

_NOTES = (
    "If `Accept` prefers application/octet-stream, the response is the raw numbers of all vectors, one text after the "
    "other, with X-Embeddings-Shape, X-Embeddings-Dtype and X-Vector-Counts, the number of vectors of each text; if it "
    f"prefers application/x-npy, a file for numpy.load. At most {MOST_RAW_TEXTS} texts can be asked for in this way. "
    "X-Truncated-Texts is the number of truncated texts, if there are any."
)


def embed_multi_vector(services: Services, request: Request) -> Work[TokenVectors]:
    """Embed texts with several vectors each."""
    del services
    body = decode(request.body, EmbedMultiVectorRequest)
    side = body.input_type or "document"
    prompt = PromptChoice(text=body.prompt, name=body.prompt_name, input_type=side)
    return _work(request, body, EmbedTokens(_model_name(body), _texts(body, prompt), _form(body), side))


def embed_tokens(services: Services, request: Request) -> Work[TokenVectors]:
    """Embed the tokens of texts."""
    del services
    body = decode(request.body, EmbedTokensRequest)
    prompt = PromptChoice(text=body.prompt, name=body.prompt_name, input_type=body.input_type)
    task = EmbedTokens(_model_name(body), _texts(body, prompt), _form(body), body.input_type or "document", "all")
    return _work(request, body, task, with_tokens=body.return_tokens is True)


def _work(
    request: Request,
    body: EmbedMultiVectorRequest | EmbedTokensRequest,
    task: EmbedTokens,
    *,
    with_tokens: bool = False,
) -> Work[TokenVectors]:
    started = time.perf_counter()
    media = chosen_media(request, len(task))

    def respond(done: TokenVectors) -> Response:
        return token_vectors_answer(
            media,
            done,
            started,
            as_base64=body.encoding_format == "base64",
            with_counts=body.token_counts is True,
            with_tokens=with_tokens,
        )

    return Work(task, respond)


def _model_name(body: EmbedMultiVectorRequest | EmbedTokensRequest) -> ModelName:
    return ModelName(name=body.name, library=body.library, pretrained=body.pretrained)


def _texts(body: EmbedMultiVectorRequest | EmbedTokensRequest, prompt: PromptChoice) -> Texts:
    given = [body.text] if isinstance(body.text, str) else body.text
    return Texts(texts=given, prompt=prompt, truncate=body.truncate is not False, cache_group=None)


def _form(body: EmbedMultiVectorRequest | EmbedTokensRequest) -> TokenForm:
    return TokenForm(normalize=body.normalize, dimensions=body.n_dims, dtype=body.output_dtype or "float")


ROUTES = (
    inference_route(
        "embed_multi_vector",
        embed_multi_vector,
        "Embed texts with several vectors each, for late interaction.",
        EmbedMultiVectorRequest,
        MultiVectorAnswer,
        notes=_NOTES,
        media=TOKEN_MEDIA,
    ),
    inference_route(
        "embed_tokens",
        embed_tokens,
        "Embed the tokens of texts: one vector for each token, before pooling.",
        EmbedTokensRequest,
        TokensAnswer,
        notes=_NOTES,
        media=TOKEN_MEDIA,
    ),
)
