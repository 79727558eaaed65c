"""Routes that embed and compare texts."""

from __future__ import annotations

import time

import numpy as np

from ingrain.server.dialects.tei import types
from ingrain.server.dialects.tei.errors import empty
from ingrain.server.dialects.tei.inputs import HasPrompt, chars_of, cut_side_of, measured, model_of, prompt_of, texts_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, base64_rows, mark_truncated
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_sparse import EmbedSparse, SparseForm, SparseTexts
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import MULTI_VECTOR, TOKENS, EmbedTokens, TokenVectors
from ingrain.tasks.vectors import VectorForm
from ingrain.vocabulary import InputType

_UNIT_LENGTH = VectorForm()
_SIDES: dict[str | None, InputType] = {"query": "query", "document": "document"}


class _Compared(Texts, frozen=True, kw_only=True):
    """A sentence, and behind it those that it is compared with."""

    def name(self, index: int) -> str:
        """Return the name of a sentence for errors."""
        place = self.place(index)
        return f"inputs.sentences[{place - 1}]" if place else "inputs.source_sentence"


def embed(services: Services, request: Request) -> Work[EmbeddedTexts]:
    """Embed texts."""
    body = decode(request.body, types.TeiEmbedRequest)
    return embed_texts(services, request, body.inputs, body)


def embed_texts(
    services: Services, request: Request, given: types.TextsOrIds, options: types.TeiEmbedRequest | types.TeiRootRequest
) -> Work[EmbeddedTexts]:
    """Embed the texts of a body."""
    started = time.perf_counter()
    texts = texts_of(given, options, cache_group(services, request))
    form = _UNIT_LENGTH
    if options.normalize is False or options.dimensions is not None:
        form = VectorForm(
            normalize=options.normalize is not False, dimensions=options.dimensions, dimensions_param="dimensions"
        )

    def respond(done: EmbeddedTexts) -> Response:
        answer = mark_truncated(array_answer(done.vectors), done)
        return measured(answer, started, chars_of(texts), done.items)

    return Work(EmbedTexts(model_of(services, request, "text_encoder"), texts, form), respond)


def embed_as_openai(services: Services, request: Request) -> Work[EmbeddedTexts]:
    """Embed texts for a client of OpenAI's API."""
    body = decode(request.body, types.TeiOpenAIRequest)
    started = time.perf_counter()
    texts = texts_of(body.input, body, cache_group(services, request), param="input")
    name = model_of(services, request, "text_encoder")

    def respond(done: EmbeddedTexts) -> Response:
        rows = base64_rows(done.vectors) if body.encoding_format == "base64" else done.vectors
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        usage = {"prompt_tokens": done.tokens, "total_tokens": done.tokens}
        answer = array_answer({"object": "list", "data": data, "model": name.name, "usage": usage})
        return measured(mark_truncated(answer, done), started, chars_of(texts), done.items)

    return Work(EmbedTexts(name, texts, VectorForm(dimensions=body.dimensions, dimensions_param="dimensions")), respond)


def embed_all(services: Services, request: Request) -> Work[TokenVectors]:
    """Embed each token of texts."""
    body = decode(request.body, types.TeiEmbedRawRequest)
    started = time.perf_counter()
    texts = texts_of(body.inputs, body, None)

    def respond(done: TokenVectors) -> Response:
        answer = mark_truncated(array_answer(list(done.rows)), done)
        return measured(answer, started, chars_of(texts), done.items)

    return Work(EmbedTokens(model_of(services, request, TOKENS, MULTI_VECTOR), texts, kept="all"), respond)


def embed_sparse(services: Services, request: Request) -> Work[SparseTexts]:
    """Embed texts into sparse vectors."""
    body = decode(request.body, types.TeiEmbedRawRequest)
    return embed_texts_sparsely(services, request, body.inputs, body)


def embed_texts_sparsely(
    services: Services, request: Request, given: types.TextsOrIds, options: HasPrompt
) -> Work[SparseTexts]:
    """Embed the texts of a body into sparse vectors.

    TEI has no field for the side of a search; a prompt of that name chooses it.
    """
    started = time.perf_counter()
    texts = texts_of(given, options, cache_group(services, request))

    def respond(done: SparseTexts) -> Response:
        entries = [
            [
                {"index": index, "value": value}
                for index, value in zip(vector.indices.tolist(), vector.values, strict=True)
            ]
            for vector in done.vectors
        ]
        return measured(mark_truncated(array_answer(entries), done), started, chars_of(texts), done.items)

    form = SparseForm(input_type=_SIDES.get(options.prompt_name))
    return Work(EmbedSparse(model_of(services, request, "sparse_encoder"), texts, form), respond)


def similarity(services: Services, request: Request) -> Work[EmbeddedTexts]:
    """Compare a sentence with others."""
    body = decode(request.body, types.TeiSimilarityRequest)
    return compare(services, request, body.inputs, body.parameters or types.SimilarityParameters())


def compare(services: Services, request: Request, given: types.Compared, options: HasPrompt) -> Work[EmbeddedTexts]:
    """Compare the sentences of a body."""
    started = time.perf_counter()
    if not given.sentences:
        raise empty("inputs.sentences")
    texts = _Compared(
        texts=[given.source_sentence, *given.sentences],
        prompt=prompt_of(options),
        truncate=options.truncate is True,
        cut_side=cut_side_of(options),
        param="inputs.sentences",
        cache_group=cache_group(services, request),
    )

    def respond(done: EmbeddedTexts) -> Response:
        cosines = np.asarray(done.vectors[1:] @ done.vectors[0])
        return measured(mark_truncated(array_answer(cosines), done), started, chars_of(texts), done.items)

    return Work(EmbedTexts(model_of(services, request, "text_encoder"), texts, _UNIT_LENGTH), respond)
