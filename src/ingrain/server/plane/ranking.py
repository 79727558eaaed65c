"""Ranks the documents of a request, for the dialects that have a route for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingrain.errors import InvalidRequestError
from ingrain.pipeline.task import ModelName, Rows
from ingrain.postprocess.probabilities import sigmoid
from ingrain.preprocess.special_tokens import CutSide
from ingrain.server.http.message import Request
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.services import Services
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.rerank import Ranked, can_rerank, rank
from ingrain.tasks.score import ROLE
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import MULTI_VECTOR
from ingrain.tasks.tokenize import shorten_texts


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
    query_tokens: int | None = None,
    document_tokens: int | None = None,
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
        query_tokens: Maximum tokens of the query, which is cut there; None for the model's.
        document_tokens: Maximum tokens of a document.
    """
    firsts = Texts(
        texts=[query],
        truncate=truncate,
        cut_side=cut_side,
        param="query",
        is_list=False,
        cache_group=cache_group(services, request),
    )
    firsts = await shortened(services, name, firsts, query_tokens)
    seconds = await shortened(services, name, Texts(texts=documents, param=param), document_tokens)
    return await rank(services.pipeline, name, Pairs(firsts=firsts, seconds=seconds), raw=raw)


async def shortened(services: Services, name: ModelName, texts: Texts, most: int | None) -> Texts:
    """Return texts cut at their end to ``most`` tokens, prompts and special tokens not counted.

    They stay as they are if it is None.

    Raises:
        IngrainError: As for ``shorten_texts``.
    """
    if most is None:
        return texts
    given = msgspec.structs.replace(texts, truncate=True, cut_side="right")
    return msgspec.structs.replace(texts, texts=await shorten_texts(services.pipeline, name, given, most))


async def sigmoid_of(services: Services, name: ModelName, raw: Rows) -> Rows:
    """Return sigmoid of a cross-encoder's raw scores, for APIs that ignore the model's own activation function.

    Scores of late interaction are no logits, and stay as they are.
    """
    return raw if (await services.pipeline.model(name)).manifest.scoring is None else sigmoid(raw)


def ranking_model(services: Services, name: str | None) -> ModelName:
    """Return the requested model; a default one if the request names none."""
    if name is not None:
        return ModelName(name=name)
    return default_model(services, ROLE, MULTI_VECTOR, fits=can_rerank)


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
