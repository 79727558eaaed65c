"""The roles of graphs in a model, with their properties for queues, engines and tunings."""

from __future__ import annotations

from dataclasses import dataclass

from ingrain.vocabulary import Role, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSpec:
    """Properties that all graphs of a role share.

    Attributes:
        tasks: Tasks that a graph of this role serves, its main purpose first.
        does: What a model with such a graph does, and the route for it, as the end of "It ...", for errors.
        tuned_batch_items: Batch sizes that a tuning tries.
        item_tokens: Tokens that a queue counts for one item; None for token sequences, ``[B, T]``, which count as many
            tokens as they have.
        disabled_cpu_optimizers: ONNX Runtime's graph optimizers that make graphs of this role slower on a CPU.
        of_queries: Whether texts are queries, which are tokenized by rules of their own.
        gives_entries: Whether outputs are entries of sparse vectors: their values, then their indices, ``[B, K]`` each.
        gives_scores: Whether the output is one score per label, and no vector.
        gives_token_vectors: Whether the output has a vector for each token, which queues cut to those of each text.
    """

    tasks: tuple[Task, ...]
    does: str
    tuned_batch_items: tuple[int, ...]
    item_tokens: int | None
    disabled_cpu_optimizers: tuple[str, ...] = ()
    of_queries: bool = False
    gives_entries: bool = False
    gives_scores: bool = False
    gives_token_vectors: bool = False

    @property
    def takes_token_sequences(self) -> bool:
        """Whether inputs are token sequences of any length; otherwise all items have the same shape."""
        return self.item_tokens is None

    def batch_tokens(self, max_items: int, max_tokens: int) -> int:
        """Return the token limit of a batch: ``max_tokens``, or the tokens of ``max_items`` items of fixed size."""
        return max_tokens if self.item_tokens is None else self.item_tokens * max_items


# About as many tokens as a vision transformer makes from an image.
_IMAGE_TOKENS = 256
_IMAGE_BATCHES = (2, 4, 8, 16, 32, 64)


def _of_texts(does: str, *tasks: Task, **more: bool) -> RoleSpec:
    """Return the properties of a graph that takes token sequences."""
    return RoleSpec(
        tasks=tasks,
        does=does,
        item_tokens=None,
        tuned_batch_items=(8, 16, 32, 64),
        # On a CPU the fused operator is slower than Add and LayerNormalization.
        disabled_cpu_optimizers=("SkipLayerNormFusion",),
        **more,
    )


def _of_images(does: str, task: Task, *, gives_scores: bool = False) -> RoleSpec:
    return RoleSpec(
        tasks=(task,),
        does=does,
        item_tokens=_IMAGE_TOKENS,
        tuned_batch_items=_IMAGE_BATCHES,
        gives_scores=gives_scores,
    )


ROLES: dict[Role, RoleSpec] = {
    "text_encoder": _of_texts("embeds texts (POST /embed_text)", "embed"),
    "image_encoder": _of_images("embeds images (POST /embed_image)", "embed"),
    "classifier": _of_images("classifies images (POST /classify_image)", "classify", gives_scores=True),
    "text_scorer": _of_texts(
        "scores texts and pairs of texts (POST /rerank, /score, /classify_text)",
        "rerank",
        "classify",
        gives_scores=True,
    ),
    "sparse_encoder": _of_texts(
        "makes sparse vectors of texts (POST /embed_sparse)", "embed_sparse", gives_entries=True
    ),
    "sparse_query_encoder": _of_texts(
        "makes sparse vectors of texts (POST /embed_sparse)", "embed_sparse", gives_entries=True, of_queries=True
    ),
    "multi_vector_encoder": _of_texts(
        "makes several vectors of a text (POST /embed_multi_vector, /embed_tokens, /rerank)",
        "embed_multi_vector",
        "rerank",
        "embed_tokens",
        gives_token_vectors=True,
    ),
    "token_encoder": _of_texts("embeds tokens (POST /embed_tokens)", "embed_tokens", gives_token_vectors=True),
}
"""Every role.

- ``text_encoder``, ``image_encoder``: one vector per item, float32 ``[B, D]``.
- ``classifier``: logits of an image, float32 ``[B, K]``.
- ``text_scorer``: logits of a text or of a pair of texts, float32 ``[B, K]``; K is 1 for a reranker.
- ``sparse_encoder``: entries of the sparse vector of a text that are not zero, or of a document.
- ``sparse_query_encoder``: the same for queries, in a model that has an encoder for each.
- ``multi_vector_encoder``: one vector per token of a text, float32 ``[B, T, D]``, for late interaction.
- ``token_encoder``: one vector per token of a text, float32 ``[B, T, D]``, before the pooling of an embedding model.

A graph's first output has one row for each item. Triton needs an axis besides the batch axis: ``[B, 1]`` for a score.
"""
