"""vLLM's dialect beside OpenAI's routes: scores, reranking, classes and pooling."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from ingrain import __version__
from ingrain.errors import InvalidRequestError, ModalityError, ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName, Rows
from ingrain.postprocess.probabilities import activate
from ingrain.preprocess.prompts import PromptChoice
from ingrain.preprocess.tokenized import TokenizedText, lengths_of
from ingrain.server.dialects.openai import vllm_types as types
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, base64_rows, mark_cut, struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.ranking import rank_documents, ranking_model, shortened, texts_of
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.classify_text import probabilities_of
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.score import ROLE, Scored, ScorePairs, ScoreTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import MULTI_VECTOR, TOKENS, EmbedTokens, TokenForm, TokenVectors
from ingrain.tasks.vectors import VectorForm
from ingrain.vocabulary import Role

R = TypeVar("R")
Answering = Work[R] | Awaitable[Response]

_ENCODER: Role = "text_encoder"
_FIRSTS, _SECONDS = ("text_1", "queries", "data_1"), ("text_2", "documents", "items", "data_2")


async def version(services: Services, request: Request) -> Response:
    """Tell the version of the server."""
    del services, request
    return struct_answer(types.VllmVersion(version=__version__))


def score(services: Services, request: Request) -> Answering[Scored]:
    """Score pairs with a cross-encoder, by late interaction, or by the cosine of vectors, as the model is made for."""
    body = decode(request.body, types.VllmScoreRequest)
    truncate, group = _truncates(body, of_pairs=True), cache_group(services, request)
    (first_param, firsts), (second_param, seconds) = _side(body, _FIRSTS), _side(body, _SECONDS)
    if len(firsts) not in (1, len(seconds)):
        raise InvalidRequestError(
            f"{first_param} has {len(firsts)} texts and {second_param} {len(seconds)}; give one text and any number, "
            "or as many of each.",
            param=second_param,
        )
    name = _name(services, body, ROLE, MULTI_VECTOR, _ENCODER)
    pairs = Pairs(
        firsts=Texts(
            texts=firsts, truncate=truncate, cut_side=body.truncation_side, param=first_param, cache_group=group
        ),
        seconds=Texts(
            texts=seconds, truncate=truncate, cut_side=body.truncation_side, param=second_param, cache_group=group
        ),
    )
    model = _loaded(services, name)
    if model is not None and ROLE in model.queues and not (body.max_tokens_per_query or body.max_tokens_per_doc):
        return _scoring(body, name, pairs)
    return _score_otherwise(services, request, body, name, pairs)


async def _score_otherwise(
    services: Services, request: Request, body: types.VllmScoreRequest, name: ModelName, pairs: Pairs
) -> Response:
    """Cut the texts where the request says, and score by what the model computes."""
    model = await services.pipeline.model(name)
    firsts = await shortened(services, name, pairs.firsts, body.max_tokens_per_query or None)
    seconds = await shortened(services, name, pairs.seconds, body.max_tokens_per_doc or None)
    if MULTI_VECTOR in model.queues and pairs.shares_first:
        query, documents = firsts.texts[0], seconds.texts
        ranked = await rank_documents(
            services,
            request,
            name,
            query,
            documents,
            truncate=firsts.truncate,
            cut_side=firsts.cut_side,
            param=seconds.param,
        )
        return _scores(name, ranked.scores, ranked.items)
    if _ENCODER in model.queues:
        one = await services.pipeline.run(EmbedTexts(name, firsts, VectorForm()))
        other = await services.pipeline.run(EmbedTexts(name, seconds, VectorForm()))
        cosines: Rows = np.sum(np.multiply(one.vectors, other.vectors), axis=1)
        return _scores(name, cosines, [*one.items, *other.items])
    work = _scoring(body, name, Pairs(firsts=firsts, seconds=seconds))
    return work.respond(await services.pipeline.run(work.task))


def _scoring(body: types.VllmScoreRequest, name: ModelName, pairs: Pairs) -> Work[Scored]:
    def respond(done: Scored) -> Response:
        if done.logits.shape[1] != 1:
            raise ModalityError(
                f"Model {name.name!r} gives {done.logits.shape[1]} scores for a pair, and one is needed.", param="model"
            )
        scores = activate(done.logits, done.scoring.activation) if _is_activated(body) else done.logits
        return _scores(name, scores[:, 0], done.items)

    return Work(ScorePairs(name, pairs), respond)


async def rerank(services: Services, request: Request) -> Response:
    """Rank documents."""
    body = decode(request.body, types.VllmRerankRequest)
    name = ranking_model(services, body.model)
    given = [body.documents] if isinstance(body.documents, str) else body.documents
    documents = texts_of(given, "documents")
    truncate, raw = _truncates(body, of_pairs=True), not _is_activated(body)
    done = await rank_documents(
        services,
        request,
        name,
        body.query,
        documents,
        truncate=truncate,
        cut_side=body.truncation_side,
        raw=raw,
        query_tokens=body.max_tokens_per_query or None,
        document_tokens=body.max_tokens_per_doc or None,
    )
    results: list[dict[str, object]] = [
        {"index": int(place), "relevance_score": done.scores[place]} for place in done.order[: body.top_n or None]
    ]
    if body.return_documents is not False:
        for result, place in zip(results, done.order, strict=False):
            result["document"] = {"text": documents[place]}
    answer = {"id": f"rerank-{uuid.uuid4().hex}", "model": name.name, "usage": _usage(done.items), "results": results}
    return mark_cut(array_answer(answer), done.items)


def classify(services: Services, request: Request) -> Work[Scored]:
    """Classify texts."""
    body = decode(request.body, types.VllmClassifyRequest)
    name = _name(services, body, ROLE)

    def respond(done: Scored) -> Response:
        labels = done.manifest.labels
        data = [
            {"index": index, "label": labels[int(np.argmax(row))], "probs": row, "num_classes": len(row)}
            for index, row in enumerate(_probabilities(body, done))
        ]
        return _list("classify", name, data, done.items)

    return Work(ScoreTexts(name, _texts(services, request, body)), respond)


def pooling(services: Services, request: Request) -> Answering[Any]:
    """Return what the model makes of texts: vectors, vectors of tokens, or probabilities."""
    body = decode(request.body, types.VllmPoolingRequest)
    name = name_of_any(services, body.model)
    texts = _texts(services, request, body)
    model = _loaded(services, name)
    if model is None:
        return _pool_later(services, body, name, texts)
    return _pool(body, name, texts, model)


async def _pool_later(services: Services, body: types.VllmPoolingRequest, name: ModelName, texts: Texts) -> Response:
    """Answer after looking for a model that another process may have loaded."""
    work = _pool(body, name, texts, await services.pipeline.model(name))
    return work.respond(await services.pipeline.run(work.task))


def _pool(body: types.VllmPoolingRequest, name: ModelName, texts: Texts, model: LoadedModel) -> Work[Any]:
    task, activated = body.task or _main_task(model), _is_activated(body) and body.normalize is not False
    is_base64 = body.encoding_format == "base64"
    if task == "classify":
        _refuse_form(body)

        def probabilities(done: Scored) -> Response:
            return _pooled(name, list(_probabilities(body, done)), done.items)

        return Work(ScoreTexts(name, texts), probabilities)
    if task == "embed":

        def vectors(done: EmbeddedTexts) -> Response:
            written = base64_rows(done.vectors) if is_base64 else list(done.vectors)
            return _pooled(name, written, done.items)

        form = VectorForm(normalize=activated, dimensions=body.dimensions, dimensions_param="dimensions")
        return Work(EmbedTexts(name, texts, form), vectors)

    def token_vectors(done: TokenVectors) -> Response:
        rows = done.vectors().astype(np.float32, copy=False)
        parts = [rows[first:end] for first, end in pairwise(accumulate(done.counts, initial=0))]
        written = [base64_rows(part.reshape(1, -1))[0] for part in parts] if is_base64 else parts
        return _pooled(name, written, done.items)

    kept: Literal["scored", "all"] = "all"
    if MULTI_VECTOR in model.manifest.roles:  # as /embed_multi_vector embeds documents
        kept, texts = "scored", msgspec.structs.replace(texts, prompt=PromptChoice(input_type="document"))
    of_tokens = TokenForm(normalize=None if activated else False, dimensions=body.dimensions)
    return Work(EmbedTokens(name, texts, of_tokens, "document", kept), token_vectors)


def _loaded(services: Services, name: ModelName) -> LoadedModel | None:
    """Return a model, or None if it is not loaded here; another process may have loaded it."""
    try:
        return services.registry.get(name.name, library=name.library, pretrained=name.pretrained)
    except ModelNotLoadedError:
        return None


def _probabilities(body: types.VllmRequest, done: Scored) -> Rows:
    return probabilities_of(done) if _is_activated(body) else done.logits


def _main_task(model: LoadedModel) -> str:
    if _ENCODER in model.queues:
        return "embed"
    return "classify" if ROLE in model.queues else "token_embed"


def name_of_any(services: Services, name: str | None) -> ModelName:
    """Return the requested model; if none is named, the default one of those that take texts."""
    return ModelName(name=name) if name is not None else default_model(services, _ENCODER, MULTI_VECTOR, TOKENS, ROLE)


def _name(services: Services, body: types.VllmRequest, *roles: Role) -> ModelName:
    return ModelName(name=body.model) if body.model is not None else default_model(services, *roles)


def _side(body: types.VllmScoreRequest, params: Sequence[str]) -> tuple[str, list[str]]:
    """Return the texts of one side of the pairs, and the name of their field.

    Raises:
        InvalidRequestError: No field, or several, have them.
    """
    given = [(param, value) for param in params if (value := getattr(body, param)) is not None]
    if len(given) != 1:
        raise InvalidRequestError(
            f"{' and '.join(param for param, _ in given) or 'None'} of {', '.join(params)} given; give one of them.",
            param=params[0],
        )
    ((param, texts),) = given
    return param, [texts] if isinstance(texts, str) else texts


def _texts(services: Services, request: Request, body: types.VllmClassifyRequest) -> Texts:
    given = body.input
    if body.add_special_tokens is False:
        raise InvalidRequestError(
            "add_special_tokens is false, but texts always get the model's special tokens; leave it out.",
            param="add_special_tokens",
        )
    return Texts(
        texts=[given] if isinstance(given, str) else given,
        truncate=_truncates(body),
        cut_side=body.truncation_side,
        max_tokens=body.truncate_prompt_tokens if body.truncate_prompt_tokens != -1 else None,
        param="input",
        is_list=not isinstance(given, str),
        cache_group=cache_group(services, request),
    )


def _truncates(body: types.VllmRequest, *, of_pairs: bool = False) -> bool:
    """Return whether too long texts are truncated; as in vLLM they are refused by default."""
    limit = body.truncate_prompt_tokens
    if limit is not None and limit != -1 and (of_pairs or limit < 1):
        number = "" if of_pairs else "a number of tokens, or "
        raise InvalidRequestError(
            f"truncate_prompt_tokens is {limit}; it must be {number}-1 for the model's maximum, or be left out.",
            param="truncate_prompt_tokens",
        )
    return limit is not None


def _is_activated(body: types.VllmRequest) -> bool:
    return False not in (body.use_activation, body.activation, body.softmax)


def _refuse_form(body: types.VllmPoolingRequest) -> None:
    for param in ("dimensions", "encoding_format", "normalize"):
        if getattr(body, param) not in (None, "float"):
            raise InvalidRequestError(f"{param} is given, but probabilities have none.", param=param)


def _scores(name: ModelName, scores: Rows, items: Sequence[TokenizedText]) -> Response:
    data = [{"index": index, "object": "score", "score": one} for index, one in enumerate(scores)]
    return _list("score", name, data, items)


def _pooled(name: ModelName, rows: Sequence[object], items: Sequence[TokenizedText]) -> Response:
    return _list("pool", name, [{"index": i, "object": "pooling", "data": row} for i, row in enumerate(rows)], items)


def _list(prefix: str, name: ModelName, data: Sequence[object], items: Sequence[TokenizedText]) -> Response:
    answer = {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": name.name,
        "data": data,
        "usage": _usage(items),
    }
    return mark_cut(array_answer(answer), items)


def _usage(items: Sequence[TokenizedText]) -> dict[str, int]:
    tokens = sum(lengths_of(items))
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
