"""Embeds texts in several ways at once, for the route of dense vectors."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from ingrain.api.types import EmbedTextRequest
from ingrain.errors import InvalidRequestError
from ingrain.postprocess.quantize import OutputDtype
from ingrain.postprocess.token_vectors import TokenDtype
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.dialects.native.embed_sparse import sparse_rows
from ingrain.server.dialects.native.fields import model_name, texts_of, vector_form
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import (
    array_answer,
    base64_rows,
    counts_of,
    mark_truncated,
    milliseconds_since,
    vectors_answer,
)
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.server.plane.token_answers import token_counts_of, token_rows
from ingrain.tasks.embed_outputs import Embedded, Embedding, EmbedOutputs
from ingrain.tasks.embed_sparse import EmbedSparse, SparseForm, SparseTexts
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import EmbedTokens, TokenForm, TokenVectors
from ingrain.vocabulary import InputType, Output

_OUTPUTS: tuple[Output, ...] = ("dense", "sparse", "multiVector")
_TOKEN_DTYPES: dict[OutputDtype, TokenDtype] = {
    "float": "float",
    "int8": "int8",
    "binary": "binary",
    "ubinary": "ubinary",
}


def embed_outputs(
    services: Services, request: Request, body: EmbedTextRequest, outputs: Sequence[Output]
) -> Work[dict[Output, Embedded]]:
    """Return the work of a request that names the outputs that it wants.

    Raises:
        InvalidRequestError: An output cannot have the requested form.
    """
    started = time.perf_counter()
    if set(outputs) == {"sparse"}:
        _refuse_forms(body)
    # In one order, because equal requests share cached rows.
    tasks = {output: _task(services, request, body, output, outputs) for output in _OUTPUTS if output in outputs}

    def respond(done: dict[Output, Embedded]) -> Response:
        return _response(request, body, done, started)

    return Work(EmbedOutputs(tasks), respond)


def _task(
    services: Services, request: Request, body: EmbedTextRequest, output: Output, outputs: Sequence[Output]
) -> Embedding:
    name, texts = model_name(body), texts_of(body, body.text, cache_group(services, request))
    if output == "dense":
        return EmbedTexts(name, texts, vector_form(body))
    if output == "sparse":
        return EmbedSparse(name, texts, SparseForm(input_type=body.input_type))
    side = body.input_type or "document"
    if set(outputs) == {output}:  # as the route for such vectors
        texts = _of_side(texts, body, side)
    return EmbedTokens(name, texts, _token_form(body), side)


def _refuse_forms(body: EmbedTextRequest) -> None:
    """Refuse fields that sparse vectors cannot honour and that would change any other vector."""
    forms = {"nDims": body.n_dims, "outputDtype": None if body.output_dtype == "float" else body.output_dtype}
    for field, value in forms.items():
        if value is not None:
            raise InvalidRequestError(
                f"{field} is {value!r}, which sparse vectors do not have; leave it out, or add `dense` or "
                "`multiVector` to `outputs`.",
                param=field,
            )


def _of_side(texts: Texts, body: EmbedTextRequest, side: InputType) -> Texts:
    prompt = PromptChoice(text=body.prompt, name=body.prompt_name, input_type=side)
    return msgspec.structs.replace(texts, prompt=prompt)


def _token_form(body: EmbedTextRequest) -> TokenForm:
    dtype = _TOKEN_DTYPES.get(body.output_dtype or "float")
    if dtype is None:
        raise InvalidRequestError(
            f"Vectors of tokens cannot be {body.output_dtype}; leave `multiVector` out of `outputs`, or use another "
            "`outputDtype`.",
            param="outputDtype",
        )
    return TokenForm(normalize=body.normalize, dimensions=body.n_dims, dtype=dtype)


def _response(request: Request, body: EmbedTextRequest, done: dict[Output, Embedded], started: float) -> Response:
    as_base64, counts = body.encoding_format == "base64", body.token_counts is True
    answer: dict[str, object] = {}
    for result in done.values():
        if isinstance(result, EmbeddedTexts):
            if len(done) == 1:
                return vectors_answer(
                    request, result.vectors, started, as_base64=as_base64, texts=result, with_counts=counts
                )
            answer["embeddings"] = base64_rows(result.vectors) if as_base64 else result.vectors
        elif isinstance(result, SparseTexts):
            answer["sparseEmbeddings"] = sparse_rows(result)
        else:
            answer["multiVectorEmbeddings"] = token_rows(result, as_base64=as_base64)
            answer["vectorCounts"] = result.counts
    if counts:
        answer |= token_counts_of(result) if isinstance(result, TokenVectors) else counts_of(result)
    return mark_truncated(array_answer(answer | {"processingTimeMs": milliseconds_since(started)}), result)
