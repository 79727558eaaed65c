"""vLLM's dialect."""

from __future__ import annotations

from typing import Any

from ingrain.server.dialects.openai import vllm, vllm_tokens, vllm_types
from ingrain.server.dialects.openai.infinity import numbered_error
from ingrain.server.dialects.openai.infinity_types import NumberedErrorAnswer
from ingrain.server.plane.route import Dialect, Handler, Route, inference_route

_NOTES = "A text that is too long is refused, unless `truncate_prompt_tokens` is -1."
_ENCODER = {"model": "intfloat/e5-small-v2"}
_RERANKER = {"model": "cross-encoder/ms-marco-MiniLM-L6-v2"}
_CLASSIFIER = {"model": "distilbert/distilbert-base-uncased-finetuned-sst-2-english"}
# Only vLLM's requests have them, of those that share the paths of Cohere's and Jina's.
_EXTRAS = (
    "truncate_prompt_tokens",
    "truncation_side",
    "use_activation",
    "activation",
    "softmax",
    "max_tokens_per_query",
)


def _score(name: str, path: str) -> Route:
    return inference_route(
        name,
        vllm.score,
        "Score pairs of texts; compatible with vLLM's clients.",
        vllm_types.VllmScoreRequest,
        vllm_types.VllmScoreAnswer,
        path=path,
        example={**_RERANKER, "text_1": "Where does the river run?", "text_2": ["The river runs to the sea."]},
        told_by=("text_1", "text_2", "queries", "data_1"),
        notes=_NOTES,
    )


def _rerank(name: str, path: str, told_by: tuple[str, ...]) -> Route:
    return inference_route(
        name,
        vllm.rerank,
        "Rank documents; compatible with the clients of vLLM and Jina.",
        vllm_types.VllmRerankRequest,
        vllm_types.VllmRerankAnswer,
        path=path,
        example={
            **_RERANKER,
            "query": "Where does the river run?",
            "documents": ["The river runs to the sea.", "A quiet stone."],
        },
        told_by=told_by,
        notes=_NOTES,
    )


def _of_texts(name: str, handler: Handler, summary: str, kinds: tuple[type, type], **fields: Any) -> Route:
    return inference_route(f"vllm_{name}", handler, summary, *kinds, path=f"/{name}", **fields)


VLLM = Dialect(
    name="vLLM",
    routes=(
        _score("vllm_score", "/score"),
        _score("vllm_v1_score", "/v1/score"),
        _rerank("vllm_rerank", "/rerank", ("model",)),
        _rerank("vllm_v1_rerank", "/v1/rerank", _EXTRAS),
        _rerank("vllm_v2_rerank", "/v2/rerank", _EXTRAS),
        _of_texts(
            "classify",
            vllm.classify,
            "Classify texts; compatible with vLLM's clients.",
            (vllm_types.VllmClassifyRequest, vllm_types.VllmClassifyAnswer),
            told_by=("input",),
            example={**_CLASSIFIER, "input": ["What a day!"]},
            notes=_NOTES,
        ),
        _of_texts(
            "pooling",
            vllm.pooling,
            "Return what a model makes of texts; compatible with vLLM's clients.",
            (vllm_types.VllmPoolingRequest, vllm_types.VllmPoolingAnswer),
            example={**_ENCODER, "input": ["The river runs to the sea."]},
            notes=_NOTES,
        ),
        _of_texts(
            "tokenize",
            vllm_tokens.tokenize,
            "Return the tokens of a text; compatible with vLLM's clients.",
            (vllm_types.VllmTokenizeRequest, vllm_types.VllmTokenizeAnswer),
            told_by=("prompt",),
            example={**_ENCODER, "prompt": "The river runs to the sea."},
        ),
        _of_texts(
            "detokenize",
            vllm_tokens.detokenize,
            "Return the text of tokens; compatible with vLLM's clients.",
            (vllm_types.VllmDetokenizeRequest, vllm_types.VllmDetokenizeAnswer),
            example={**_ENCODER, "tokens": [1996, 2314]},
        ),
        Route(
            name="vllm_version",
            plane="inference",
            method="GET",
            path="/version",
            handler=vllm.version,
            summary="The version of this server.",
            answer=vllm_types.VllmVersion,
            scope="infer",
        ),
    ),
    error_body=numbered_error,
    error_type=NumberedErrorAnswer,
)
