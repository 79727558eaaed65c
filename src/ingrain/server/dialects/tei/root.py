"""The route that does what the model does, where Hugging Face's inference clients post."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import msgspec

from ingrain.errors import IngrainError, InvalidRequestError
from ingrain.pipeline.task import ModelName
from ingrain.server.dialects.tei import types
from ingrain.server.dialects.tei.embed import compare, embed_texts, embed_texts_sparsely
from ingrain.server.dialects.tei.score import classify, rank_texts
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.score import ROLE
from ingrain.vocabulary import Role

Answering = Work[Any] | Awaitable[Response]

_OF_VECTORS = ("prompt_name", "normalize", "dimensions")
_OPTIONS = ("truncate", "truncation_direction", *_OF_VECTORS)
_EMBEDS: Role = "text_encoder"
_EMBEDS_SPARSELY: Role = "sparse_encoder"


def root(services: Services, request: Request) -> Answering:
    """Rank, compare, embed or classify, by the fields of the body and by what the model does."""
    body = _with_options(decode(request.body, types.TeiRootRequest))
    if body.query is not None and body.texts is not None:
        ranking = types.TeiRerankRequest(
            query=body.query,
            texts=body.texts,
            truncate=body.truncate,
            truncation_direction=body.truncation_direction,
            raw_scores=body.raw_scores is True,
            return_text=body.return_text,
        )
        return rank_texts(services, request, ranking)
    if body.inputs is None:
        raise InvalidRequestError("Field 'inputs' is missing.", param="inputs")
    if isinstance(body.inputs, types.Compared):
        return compare(services, request, body.inputs, body)
    if request.variable and services.registry.loads_on_demand:
        return _later(services, request, body)
    return _of_the_model(services, request, body)


async def _later(services: Services, request: Request, body: types.TeiRootRequest) -> Response:
    """Answer when the model is loaded, which may take a while."""
    await services.pipeline.model(ModelName(name=request.variable))
    answering = _of_the_model(services, request, body)
    if isinstance(answering, Work):
        return answering.respond(await services.pipeline.run(answering.task))
    return await answering


def _of_the_model(services: Services, request: Request, body: types.TeiRootRequest) -> Answering:
    """Embed or classify, by what the model does."""
    assert body.inputs is not None
    assert not isinstance(body.inputs, types.Compared)
    is_for_vectors = any(getattr(body, name) is not None for name in _OF_VECTORS)
    has_pairs = _has_pairs(body.inputs)
    of_labels = body.raw_scores is not None or (body.parameters is not None and not is_for_vectors)
    role = _role(services, request, to_classify=has_pairs or of_labels)
    if role == ROLE:
        return classify(services, request, _to_predict(body))
    if has_pairs:
        raise InvalidRequestError("inputs has lists of texts, but the model embeds texts.", param="inputs")
    embed = embed_texts_sparsely if role == _EMBEDS_SPARSELY else embed_texts
    return embed(services, request, cast("types.TextsOrIds", body.inputs), body)


def _with_options(body: types.TeiRootRequest) -> types.TeiRootRequest:
    """Return the body with the options of ``parameters``, which are those of the body for TEI's own clients.

    Raises:
        InvalidRequestError: The body has another value for one of them.
    """
    if body.parameters is None:
        return body
    given: dict[str, object] = {}
    for name in _OPTIONS:
        value, other = getattr(body.parameters, name), getattr(body, name)
        if value is not None:
            if other not in (None, value):
                raise InvalidRequestError(f"{name} and parameters.{name} differ; give one of them.", param=name)
            given[name] = value
    return msgspec.structs.replace(body, **given)


def _role(services: Services, request: Request, *, to_classify: bool) -> Role:
    """Return the role of the graph that answers: of the named model, or one for which there is a model at all.

    Args:
        services: Services of the plane.
        request: Its path may name a model.
        to_classify: Whether the body has what only classification has; it then comes first, else last.
    """
    try:
        models = [services.registry.get(request.variable)] if request.variable else services.registry.loaded()
    except IngrainError:
        models = []  # the task says what is wrong, or finds that another process has loaded the model
    wanted = (ROLE, _EMBEDS, _EMBEDS_SPARSELY) if to_classify else (_EMBEDS, _EMBEDS_SPARSELY, ROLE)
    for role in wanted:
        for model in models:
            if role in model.queues:
                return role
    return wanted[0]


def _has_pairs(inputs: str | list[Any]) -> bool:
    """Return whether inputs are lists of texts; those of texts begin with a text, those of token ids with a number."""
    if isinstance(inputs, str) or not inputs or not isinstance(inputs[0], list):
        return False
    return any(isinstance(item, list) and any(isinstance(one, str) for one in item) for item in inputs)


def _to_predict(body: types.TeiRootRequest) -> types.TeiPredictRequest:
    return types.TeiPredictRequest(
        inputs=cast("Any", body.inputs),  # ``classify`` checks them
        truncate=body.truncate,
        truncation_direction=body.truncation_direction,
        raw_scores=body.raw_scores is True,
        parameters=body.parameters,
    )
