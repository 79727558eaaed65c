"""Builds the descriptions of text and image towers that all families share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from ingrain.export.families.protocol import Candidate, Preparation, Tower
from ingrain.export.onnx.active_entries import choose_active_entries
from ingrain.export.onnx.onnx_file import Recipe
from ingrain.export.proof.compare import Count, Distance, compare
from ingrain.export.proof.image_references import ImageReferences, ask_image_source
from ingrain.export.proof.sparse_references import SparseReferences
from ingrain.export.proof.text_references import TextReferences, ask_text_source
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import Similarity
from ingrain.vocabulary import Role

PIXELS = "pixel_values"
WEIGHTS = "weights"
PLAIN_RECIPES = (Recipe("dynamo", None), Recipe("torchscript", None))
"""Recipes for networks whose attention implementation cannot be chosen."""


def transformer_recipes(network: Any) -> tuple[Recipe, ...]:
    """Return the recipes for a network of transformers: eager attention first, the deprecated tracer last."""
    sdpa = (Recipe("dynamo", "sdpa"),) if getattr(network, "_supports_sdpa", False) else ()
    return (Recipe("dynamo", "eager"), *sdpa, Recipe("torchscript", "eager"))


def text_tower(
    source: Any, inputs: Sequence[str], candidates: Iterable[Candidate], *, title: str, int8: bool = True
) -> Tower:
    """Return the text tower of a source (``proof.text_references.TextSource``)."""

    def ask(
        prepared: Preparation, inputs: Sequence[str], tolerance: float, brief: bool, count: Count
    ) -> TextReferences:
        assert prepared.text is not None
        preprocessor = TextPreprocessor(prepared.text, prepared.folder)
        return ask_text_source(source, preprocessor, inputs, tolerance=tolerance, report=count, brief=brief)

    return Tower(
        role="text_encoder", label="text", title=title, inputs=tuple(inputs), candidates=tuple(candidates), ask=ask,
        int8=int8,
    )  # fmt: skip


def sparse_tower(
    source: Any,
    inputs: Sequence[str],
    candidates: Iterable[Candidate],
    *,
    of_queries: bool,
    title: str,
    limit: int | None,
    int8: bool,
) -> Tower:
    """Return a tower with sparse vectors, of a source as in ``text_tower``.

    Args:
        source: Computes whole rows of weights.
        inputs: Names of the graph's inputs.
        candidates: Ways to export whole rows of weights.
        of_queries: True for the encoder of queries of a model that has one for each side.
        title: Subject of an error message.
        limit: Largest number of entries in a row; None for no limit.
        int8: True if the tower is quantized in an int8 model.
    """

    def ask(
        prepared: Preparation, inputs: Sequence[str], tolerance: float, brief: bool, count: Count
    ) -> SparseReferences:
        config = prepared.query_text if of_queries else prepared.text
        assert config is not None
        preprocessor = TextPreprocessor(config, prepared.folder)
        found = ask_text_source(source, preprocessor, inputs, tolerance=tolerance, report=count, brief=brief)
        return SparseReferences.of(found)

    return Tower(
        role="sparse_query_encoder" if of_queries else "sparse_encoder",
        label="query" if of_queries else "text",
        title=title,
        inputs=tuple(inputs),
        output=WEIGHTS,
        candidates=tuple(candidates),
        ask=ask,
        int8=int8,
        finish=partial(choose_active_entries, weights=WEIGHTS, limit=limit),
    )


def image_tower(
    source: Any,
    candidates: Iterable[Candidate],
    *,
    title: str = "The image tower",
    role: Role = "image_encoder",
    output: str = "embedding",
    distance: Distance = compare,
) -> Tower:
    """Return the image tower of a source (``proof.image_references.ImageSource``)."""

    def ask(prepared: Preparation, _: Sequence[str], __: float, brief: bool, count: Count) -> ImageReferences:
        assert prepared.image is not None
        count(0, 0)  # report that the phase has begun
        return ask_image_source(source, prepared.image, distance=distance, brief=brief)

    return Tower(
        role=role, label="image", title=title, inputs=(PIXELS,), output=output, candidates=tuple(candidates), ask=ask
    )


def learned_similarity(network: Any) -> Similarity | None:
    """Return how a CLIP or SigLIP network compares text and image vectors; None if it learned no scale.

    ``logit_scale`` is a logarithm. Only models trained with the sigmoid loss, which scores each label by itself, have a
    ``logit_bias``.
    """
    scale, bias = getattr(network, "logit_scale", None), getattr(network, "logit_bias", None)
    if scale is None or scale.numel() != 1:
        return None
    factor = float(scale.exp().reshape(()))
    if bias is None:
        return Similarity(scale=factor)
    return Similarity(scale=factor, bias=float(bias.reshape(())), activation="sigmoid")
