"""Small models for every pooling mode, module and option of sentence-transformers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tiny_families import FAMILIES
from tiny_models import build_network, build_pipeline, build_static, prepare_libraries
from tiny_two_towers import build_clip, build_clip_transformer, build_siglip

Build = Callable[[Path], Path]

_LEFT = FAMILIES["Qwen3"]
_MEAN: tuple[str, dict[str, Any]] = ("Pooling", {"pooling_mode": "mean"})
_ALL_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
PROMPTS = {"query": "query: ", "passage": "a passage of text, slowly: "}


def pooling(mode: str | tuple[str, ...], **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Return a pooling module for ``build_pipeline``."""
    return ("Pooling", {"pooling_mode": mode, **arguments})


def dense(width: int, activation: str = "Tanh", **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Return a dense module for ``build_pipeline``; ``activation`` is a class of ``torch.nn``."""
    from torch import nn

    return ("Dense", {"out_features": width, "activation_function": getattr(nn, activation)(), **arguments})


def _dense(folder: Path, width: int, activation: str, **arguments: Any) -> Path:
    return build_pipeline(folder, modules=[_MEAN, dense(width, activation, **arguments), ("Normalize", {})])


def _dense_on_tokens(folder: Path) -> Path:
    tokens = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    return build_pipeline(folder, modules=[dense(24, "GELU", **tokens), pooling("mean")])


def _weighted_layers(folder: Path, modes: str | tuple[str, ...] = "mean") -> Path:
    layers = {"num_hidden_layers": 2, "layer_start": 1}
    return build_pipeline(
        folder,
        modules=[("WeightedLayerPooling", layers), pooling(modes)],
        config_kwargs={"output_hidden_states": True},
    )


def _embedding_gemma(folder: Path) -> Path:
    modules = [_MEAN, dense(64, "Identity", bias=False), dense(32, "Identity", bias=False), ("Normalize", {})]
    return build_pipeline(folder, family=FAMILIES["EmbeddingGemma"], modules=modules, prompts=PROMPTS)


def _plain(folder: Path, family: str = "BERT") -> Path:
    return build_network(folder, FAMILIES[family])


def _lower_case(folder: Path) -> Path:
    return build_pipeline(folder, family=FAMILIES["RoBERTa"], modules=[_MEAN], do_lower_case=True)


def _truncate_dim(folder: Path, dtype: str = "float32") -> Path:
    import msgspec

    build_pipeline(folder, modules=[_MEAN, ("Normalize", {})], dtype=dtype)
    path = folder / "config_sentence_transformers.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {"truncate_dim": 16}))
    return folder


def _left_truncation(folder: Path) -> Path:
    return build_pipeline(folder, modules=[_MEAN], processor_kwargs={"truncation_side": "left"})


def _as_pickle(folder: Path, *, hostile: bool = False) -> Path:
    """Build a model whose weights are there as pickle only, those of its network in two shards."""
    import msgspec
    import torch
    from safetensors.torch import load_file

    build_pipeline(folder, modules=[_MEAN, dense(24)])
    for weights in (folder / "model.safetensors", folder / "2_Dense" / "model.safetensors"):
        tensors: dict[str, Any] = load_file(weights)
        weights.unlink()
        if weights.parent != folder:
            content = tensors | {"callback": RunsCode(folder / "it ran")} if hostile else tensors
            torch.save(content, weights.with_name("pytorch_model.bin"))
            continue
        shards = {name: f"pytorch_model-0000{number % 2 + 1}-of-00002.bin" for number, name in enumerate(tensors)}
        for shard in set(shards.values()):
            torch.save({name: tensors[name] for name in tensors if shards[name] == shard}, folder / shard)
        index = {"metadata": {}, "weight_map": shards}
        (folder / "pytorch_model.bin.index.json").write_bytes(msgspec.json.encode(index))
    return folder


class RunsCode:
    """What makes a folder when a pickle that holds it is loaded as a program.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self._folder,)


PIPELINES: dict[str, Build] = {
    **{f"Pooling {mode}": partial(build_pipeline, modules=[pooling(mode)]) for mode in _ALL_MODES},
    **{
        f"Pooling {mode}, left padding": partial(build_pipeline, family=_LEFT, modules=[pooling(mode)])
        for mode in _ALL_MODES
    },
    "Pooling mean + max + cls": partial(build_pipeline, modules=[pooling(("mean", "max", "cls"))]),
    **{
        f"Pooling {mode} without the prompt": partial(
            build_pipeline,
            modules=[pooling(mode, include_prompt=False)],
            prompts=PROMPTS,
            default_prompt_name="query",
        )
        for mode in _ALL_MODES
    },
    "Pooling mean without the prompt, left padding": partial(
        build_pipeline,
        family=replace(_LEFT, template="bos_eos"),
        modules=[pooling(("mean", "weightedmean"), include_prompt=False)],
        prompts=PROMPTS,
    ),
    "Default prompt": partial(build_pipeline, modules=[_MEAN], prompts=PROMPTS, default_prompt_name="passage"),
    "Normalize": partial(build_pipeline, modules=[_MEAN, ("Normalize", {})]),
    "Dense, tanh": partial(_dense, width=48, activation="Tanh"),
    "Dense, identity without bias": partial(_dense, width=16, activation="Identity", bias=False),
    "Dense, GELU, residual": partial(_dense, width=32, activation="GELU", use_residual=True),
    "Dense, SiLU, projected residual": partial(_dense, width=48, activation="SiLU", use_residual=True),
    "Dense on tokens": _dense_on_tokens,
    "LayerNorm": partial(build_pipeline, modules=[_MEAN, ("LayerNorm", {}), ("Dropout", {})]),
    "WeightedLayerPooling": _weighted_layers,
    "CNN": partial(build_pipeline, modules=[("CNN", {"out_channels": 8}), _MEAN]),
    "EmbeddingGemma with Dense and prompts": _embedding_gemma,
    "Plain transformers folder": _plain,
    "CLIP, both towers": build_clip,
    "CLIP, both towers, Dense": build_clip_transformer,
    "SigLIP, both towers": build_siglip,
    "SigLIP, both towers, padded to the limit": partial(build_siglip, text={"padding": "max_length"}),
    "Lower case": _lower_case,
    "Left truncation": _left_truncation,
    "truncate_dim": _truncate_dim,
    "float16 checkpoint": partial(build_pipeline, modules=[_MEAN], dtype="float16"),
    "bfloat16 checkpoint": partial(build_pipeline, modules=[_MEAN], dtype="bfloat16"),
    "Weights as pickle, in shards": _as_pickle,
    "StaticEmbedding": partial(build_static, normalize=False),
    "StaticEmbedding, Normalize": partial(build_static, normalize=True),
}


# A conversion takes seconds, so that the tests ask for several options of one model.
COMBINATIONS: dict[str, Build] = {
    "WeightedLayerPooling, Pooling mean + max + cls": partial(_weighted_layers, modes=("mean", "max", "cls")),
    "Plain transformers folder of DeBERTa-v2": partial(_plain, family="DeBERTa-v2"),
    "truncate_dim of a float16 checkpoint": partial(_truncate_dim, dtype="float16"),
}


def _words(folder: Path) -> Path:
    """Build a model of word vectors, whose words are split by Python code."""
    prepare_libraries()
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, WordEmbeddings
    from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

    vocabulary = ["the", "river", "runs", "to", "sea"]
    weights = np.random.default_rng(0).standard_normal((len(vocabulary), 8), dtype=np.float32)
    embeddings = WordEmbeddings(WhitespaceTokenizer(vocabulary), weights)
    SentenceTransformer(modules=[embeddings, Pooling(8)], device="cpu").save(str(folder), create_model_card=False)
    return folder


def _bag_of_words(folder: Path) -> Path:
    prepare_libraries()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW

    SentenceTransformer(modules=[BoW(["river", "stone"])], device="cpu").save(str(folder), create_model_card=False)
    return folder


def _router(folder: Path) -> Path:
    prepare_libraries()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    static = SentenceTransformer(str(build_static(folder.with_name(f"{folder.name}.static"))), device="cpu")
    routes = {"query": [static[0]], "document": [static[0]]}
    router = Router(routes, default_route="document")
    SentenceTransformer(modules=[router], device="cpu").save(str(folder), create_model_card=False)
    return folder


REFUSED: dict[str, Build] = {
    "WordEmbeddings": _words,
    "BoW": _bag_of_words,
    "Router": _router,
    "Pickle that runs code": partial(_as_pickle, hostile=True),
}
