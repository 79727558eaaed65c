"""Example requests for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping

_TEXT_MODEL = {"name": "intfloat/e5-small-v2"}
_RERANKER = {"name": "cross-encoder/ms-marco-MiniLM-L6-v2"}
_SPARSE_MODEL = {"name": "naver/splade-v3"}
_COLBERT = {"name": "lightonai/GTE-ModernColBERT-v1"}
_TIMM = {"name": "timm/resnet18.a1_in1k", "library": "timm"}
_CLIP_WEIGHTS = {"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
_TIMM_WEIGHTS = {"name": "resnet18", "pretrained": "a1_in1k"}
# A red pixel.
_PICTURE = "data:image/png;base64," + (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)

BODIES: Mapping[str, Mapping[str, object]] = {
    "embed_text": {**_TEXT_MODEL, "text": ["The river runs to the sea.", "A quiet stone."], "normalize": True},
    "embed_sparse": {**_SPARSE_MODEL, "text": ["The river runs to the sea."], "inputType": "document", "topK": 128},
    "embed_multi_vector": {**_COLBERT, "text": ["Who repairs bicycles?"], "inputType": "query"},
    "embed_tokens": {**_COLBERT, "text": ["The river runs to the sea."], "returnTokens": True},
    "embed_image": {**_CLIP_WEIGHTS, "image": [_PICTURE]},
    "embed": {**_CLIP_WEIGHTS, "text": "a red square", "image": _PICTURE},
    "classify_image": {**_TIMM, "image": [_PICTURE]},
    "classify_image_zero_shot": {**_CLIP_WEIGHTS, "image": [_PICTURE], "labels": ["red", "green"]},
    "rerank": {
        **_RERANKER,
        "query": "Where does the river run?",
        "documents": ["The river runs to the sea.", "A quiet stone."],
        "topN": 1,
    },
    "score": {**_RERANKER, "pairs": [["Where does the river run?", "The river runs to the sea."]]},
    "classify_text": {"name": "distilbert/distilbert-base-uncased-finetuned-sst-2-english", "text": ["What a day!"]},
    "classify_text_zero_shot": {
        "name": "cross-encoder/nli-deberta-v3-small",
        "text": ["The river has burst its banks."],
        "labels": ["weather", "sports"],
    },
    "openai_embeddings": {"model": _TEXT_MODEL["name"], "input": ["The river runs to the sea."]},
    "ollama_embed": {"model": _TEXT_MODEL["name"], "input": ["The river runs to the sea."], "truncate": True},
    "ollama_embeddings": {"model": _TEXT_MODEL["name"], "prompt": "The river runs to the sea."},
    "ollama_generate": {"model": _TEXT_MODEL["name"]},
    "ollama_chat": {"model": _TEXT_MODEL["name"]},
    "ollama_show": {"model": _TEXT_MODEL["name"]},
    "ollama_pull": {"model": _TEXT_MODEL["name"], "stream": False},
    "ollama_delete": {"model": _TEXT_MODEL["name"]},
    "infer_text": {**_TEXT_MODEL, "text": ["The river runs to the sea."]},
    "infer_image": {**_CLIP_WEIGHTS, "image": [_PICTURE]},
    "infer": {**_CLIP_WEIGHTS, "text": "a red square", "image": _PICTURE},
    "load_model": {**_TEXT_MODEL, "library": "sentence_transformers"},
    "unload_model": _TEXT_MODEL,
    "delete_model": _TEXT_MODEL,
    "tune_model": _TEXT_MODEL,
    "reset_tuning": _TEXT_MODEL,
    "load_sentence_transformer_model": _TEXT_MODEL,
    "load_clip_model": _CLIP_WEIGHTS,
    "load_timm_model": _TIMM_WEIGHTS,
}
"""Body by the operation id of its route."""

PARAMETERS: Mapping[str, str] = {
    "name": _TEXT_MODEL["name"],
    "model": _TEXT_MODEL["name"],
    "id": "9f2c41d07be35a68",
}
"""Value by the name of the parameter."""
