"""Ranks the documents of a request, for the dialects that have a route for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.errors import InvalidRequestError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.special_tokens import CutSide
from ingrain.server.http.message import Request
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.services import Services
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.rerank import Ranked, rank
from ingrain.tasks.texts import Texts
from ingrain.vocabulary import Role

_CROSS_ENCODER: Role = "text_scorer"
_MULTI_VECTOR: Role = "multi_vector_encoder"


async def rank_documents(
    services: Services,
    request: Request,
    name: ModelName,
    query: str,
    documents: Sequence[str],
    *,
    truncate: bool,
    cut_side: CutSide | None = None,
    raw: bool = False,
    param: str = "documents",
) -> Ranked:
    """Score documents by their relevance to a query.

    Args:
        services: Services of the plane.
        request: The request; its headers decide what may come from the cache.
        name: The model.
        query: The query.
        documents: The documents.
        truncate: False to refuse pairs that are too long instead of truncating them.
        cut_side: Side on which pairs are truncated; None for the source library's side.
        raw: True for the scores before the model's activation function.
        param: Name of the request field with the documents, for errors.
    """
    firsts = Texts(
        texts=[query],
        truncate=truncate,
        cut_side=cut_side,
        param="query",
        is_list=False,
        cache_group=cache_group(services, request),
    )
    pairs = Pairs(firsts=firsts, seconds=Texts(texts=documents, param=param))
    return await rank(services.pipeline, name, pairs, raw=raw)


def ranking_model(services: Services, name: str | None) -> ModelName:
    """Return the requested model; a default one if the request names none."""
    if name is not None:
        return ModelName(name=name)
    return default_model(services, _CROSS_ENCODER, _MULTI_VECTOR, fits=_ranks)


def texts_of(documents: Sequence[str | Mapping[str, Any]], param: str, fields: Sequence[str] = ("text",)) -> list[str]:
    """Return the text of each document.

    Args:
        documents: Texts, or objects.
        param: Name of the request field, for errors.
        fields: Fields of an object that are its text, in this order, each in a line.

    Raises:
        InvalidRequestError: An object has none of the fields, or one of them is not a text.
    """
    texts = []
    for place, document in enumerate(documents):
        if isinstance(document, str):
            texts.append(document)
            continue
        values = [document[field] for field in fields if field in document]
        if not values or not all(isinstance(value, str) for value in values):
            raise InvalidRequestError(
                f"{param}[{place}] has no text: a document is a text, or an object with texts in its fields "
                f"{', '.join(fields)[:200]}.",
                param=f"{param}[{place}]",
            )
        texts.append("\n".join(values))
    return texts


def _ranks(model: LoadedModel) -> bool:
    """Return whether a model gives one score for a pair."""
    return _CROSS_ENCODER not in model.queues or len(model.manifest.labels) <= 1
