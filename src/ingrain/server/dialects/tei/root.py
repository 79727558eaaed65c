"""The route that does what the model does, where Hugging Face's inference clients post."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from ingrain.errors import InvalidRequestError, ModelNotLoadedError
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

_EMBEDS: Role = "text_encoder"
_EMBEDS_SPARSELY: Role = "sparse_encoder"


def root(services: Services, request: Request) -> Answering:
    """Rank, compare, embed or classify, by the fields of the body and by what the model does."""
    body = decode(request.body, types.TeiRootRequest)
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
        return compare(services, request, body.inputs, body.parameters or types.RootParameters())
    role = _role(services, request, body)
    if role == ROLE:
        return classify(services, request, _to_predict(body))
    _refuse_pairs(body.inputs)
    given = types.TeiEmbedRequest(
        inputs=cast("types.TextsOrIds", body.inputs),
        truncate=body.truncate,
        truncation_direction=body.truncation_direction,
        prompt_name=body.prompt_name,
        normalize=body.normalize,
        dimensions=body.dimensions,
    )
    embed = embed_texts_sparsely if role == _EMBEDS_SPARSELY else embed_texts
    return embed(services, request, given)


def _role(services: Services, request: Request, body: types.TeiRootRequest) -> Role:
    """Return the role of the graph that answers: of the named model, or one for which there is a model at all."""
    wanted = (_EMBEDS, _EMBEDS_SPARSELY, ROLE)
    if _is_to_classify(body):
        wanted = (ROLE, _EMBEDS, _EMBEDS_SPARSELY)
    if request.variable:
        try:
            models = [services.registry.get(request.variable)]
        except ModelNotLoadedError:
            models = []  # the task looks again whether another process has loaded it
    else:
        models = services.registry.loaded()
    return next((role for role in wanted if any(role in model.queues for model in models)), wanted[0])


def _is_to_classify(body: types.TeiRootRequest) -> bool:
    """Return whether a body has what only classification has."""
    if body.parameters is not None or body.raw_scores is not None:
        return True
    return isinstance(body.inputs, list) and any(_holds_texts(item) for item in body.inputs)


def _holds_texts(item: object) -> bool:
    return isinstance(item, list) and any(isinstance(one, str) for one in item)


def _to_predict(body: types.TeiRootRequest) -> types.TeiPredictRequest:
    return types.TeiPredictRequest(
        inputs=cast("Any", body.inputs),  # ``classify`` checks them
        truncate=body.truncate,
        truncation_direction=body.truncation_direction,
        raw_scores=body.raw_scores is True,
        parameters=body.parameters,
    )


def _refuse_pairs(inputs: object) -> None:
    for place, item in enumerate(inputs if isinstance(inputs, list) else ()):
        if _holds_texts(item):
            raise InvalidRequestError(
                f"inputs[{place}] is a list of texts, but the model classifies none: it embeds texts.",
                param=f"inputs[{place}]",
            )
