"""Translates a ``config.json`` that names custom code into one for transformers' own class of the same network.

The custom code may be older than transformers' class, or a modified copy of it, so an equal class name proves nothing.
This module lists the known pairs, with the configuration values for which the published code and transformers' class
compute the same. Models with any other value or class need their code. A copy whose changes do not show in its
configuration cannot be detected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Config = dict[str, Any]

# Keys that do not affect the network's output; they are copied.
_KEPT = ("pad_token_id", "bos_token_id", "eos_token_id", "initializer_range", "torch_dtype", "dtype")
# The heads that transformers has for all of these networks, and what they and their scores are read from.
_HEADS = ("ForSequenceClassification", "ForMaskedLM")
_OF_HEAD = (
    "id2label", "label2id", "num_labels", "problem_type", "classifier_dropout", "tie_word_embeddings",
    "sentence_transformers", "sbert_ce_default_activation_function",
)  # fmt: skip


def read_natively(config: Config, class_name: str | None) -> Config | None:
    """Return the configuration for transformers' own class, or None if that class may be a different network.

    Args:
        config: The contents of ``config.json``.
        class_name: The network's class in the custom code; None if the configuration names none.
    """
    found = _NATIVE.get(config.get("model_type", ""))
    if found is None or class_name not in (found[0], None):
        return None
    return found[1](config)


def _nomic(config: Config) -> Config | None:
    """Translate nomic-ai/nomic-bert-2048's NomicBertModel, whose configuration uses GPT-2's names (``n_layer``).

    The width of its perceptron is rounded up to a multiple of 256, the vocabulary to ``pad_vocab_size_multiple``.
    Missing keys have the defaults of its own configuration class, which differ from those of transformers' class.
    """
    if "n_layer" not in config and "n_embd" not in config:
        return _without_code(config)
    given = _NOMIC_DEFAULTS | config
    if not _agree(given, _NOMIC_SAME) or config.get("rope_parameters") not in (None, _rope(given["rotary_emb_base"])):
        return None
    multiple, width = given["pad_vocab_size_multiple"] or 1, 256
    sizes = {
        "vocab_size": -(-given["vocab_size"] // multiple) * multiple,
        "hidden_size": given["n_embd"],
        "num_hidden_layers": given["n_layer"],
        "num_attention_heads": given["n_head"],
        "intermediate_size": -(-(given["n_inner"] or int(8 * given["n_embd"] / 3)) // width) * width,
    }
    # Newer files have both sets of names.
    if any(config.get(name, size) != size for name, size in sizes.items()):
        return None
    return _kept(config) | _head(config, "NomicBert") | sizes | {
        "model_type": "nomic_bert",
        "hidden_act": "silu",
        "layer_norm_eps": given["layer_norm_epsilon"],
        "type_vocab_size": given["type_vocab_size"],
        # The positions are rotary, so no tensor has this length.
        "max_position_embeddings": max(given["n_positions"], config.get("max_position_embeddings", 0)),
        "rope_parameters": _rope(given["rotary_emb_base"]),
    }  # fmt: skip


_NOMIC_DEFAULTS: Config = {
    "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None, "n_positions": 1024,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "prenorm": False, "parallel_block": False,
    "rotary_emb_fraction": 0.0, "rotary_emb_base": 10000, "rotary_emb_scale_base": None,
    "rotary_emb_interleaved": False, "rotary_scaling_factor": None, "rotary_head_dim": False, "qkv_proj_bias": True,
    "mlp_fc1_bias": True, "mlp_fc2_bias": True, "use_rms_norm": False, "causal": False, "type_vocab_size": 2,
    "pad_vocab_size_multiple": 1, "num_heads_kv": None, "num_experts": None,
}  # fmt: skip
_NOMIC_SAME: Config = {
    "activation_function": "swiglu", "prenorm": False, "parallel_block": False, "rotary_emb_fraction": 1.0,
    "rotary_emb_scale_base": None, "rotary_emb_interleaved": False, "rotary_scaling_factor": None,
    "rotary_head_dim": False, "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
    "use_rms_norm": False, "causal": False, "num_heads_kv": None, "num_experts": None,
}  # fmt: skip


def _gte(config: Config) -> Config | None:
    """Translate Alibaba-NLP/new-impl's NewModel, and its copy GteModel of arctic-embed-m-v2.0, to GteModel.

    Their "ntk" rotations are the same for all lengths (https://kexue.fm/archives/9706): the base is multiplied by the
    factor, and every frequency divided by factor ** (2 / dim). transformers' "linear" does the same with that divisor.
    """
    given = _GTE_DEFAULTS | config
    if not _agree(given, _GTE_SAME):
        return None
    scaling = config.get("rope_parameters") or given["rope_scaling"] or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if config.get("rope_parameters") and kind in ("default", "linear"):
        return _without_code(config)  # saved by transformers' own class
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    theta = scaling.get("rope_theta", config.get("rope_theta"))
    if theta is None or not all(name in config for name in (*sizes, "layer_norm_eps")):
        return None
    rope = _rope(theta)
    if kind == "ntk" and scaling.get("mixed_b") is None and isinstance(scaling.get("factor"), int | float):
        factor = scaling["factor"]
        divisor = factor ** (2 / (given["hidden_size"] // given["num_attention_heads"]))
        rope = {"rope_type": "linear", "factor": divisor, "rope_theta": float(theta * factor)}
    elif kind != "default":
        return None
    named = ("hidden_act", "layer_norm_eps", "type_vocab_size", "max_position_embeddings")
    return _kept(config) | _head(config, "Gte") | {name: given[name] for name in (*sizes, *named)} | {
        "model_type": "gte",
        "rope_parameters": rope,
    }  # fmt: skip


_GTE_DEFAULTS: Config = {
    "hidden_act": "gelu", "type_vocab_size": 1, "max_position_embeddings": 2048, "rope_scaling": None,
    "position_embedding_type": "rope", "layer_norm_type": "layer_norm", "pack_qkv": True,
    "logn_attention_scale": False,
}  # fmt: skip
_GTE_SAME: Config = {
    "position_embedding_type": "rope", "layer_norm_type": "layer_norm", "pack_qkv": True,
    "logn_attention_scale": False,
}  # fmt: skip


def _qwen2(config: Config) -> Config | None:
    """Translate gte-Qwen2's and stella's Qwen2Model, a copy with bidirectional attention.

    transformers' class is bidirectional only if the configuration sets ``is_causal`` to false; without that key, the
    copies use their own defaults.
    """
    return _without_code(config) if config.get("is_causal") is False else None


_NATIVE: dict[str, tuple[str, Callable[[Config], Config | None]]] = {
    "nomic_bert": ("NomicBertModel", _nomic),
    "gte": ("GteModel", _gte),
    "new": ("NewModel", _gte),
    "qwen2": ("Qwen2Model", _qwen2),
}

_NATIVE_TOKENIZERS = frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast"})


def read_tokenizer_natively(options: Config, tokenizer: Config, class_names: set[str]) -> tuple[Config, Config] | None:
    """Return a tokenizer's two files for transformers' own class, or None if that may be a different tokenizer.

    gte-Qwen2's and stella's copies of Qwen2Tokenizer append an end token if ``add_eos_token`` is set. transformers
    ignores that option if there is a ``tokenizer.json``, so the end token is added to that file.

    Args:
        options: The contents of ``tokenizer_config.json``.
        tokenizer: The contents of ``tokenizer.json``; empty if there is none.
        class_names: The tokenizer's classes in the custom code.
    """
    options = _without_code(options)
    if not class_names <= _NATIVE_TOKENIZERS or not tokenizer or options.get("add_bos_token"):
        return None
    kind = (tokenizer.get("post_processor") or {}).get("type")
    if not options.get("add_eos_token") or kind not in (None, "ByteLevel"):
        return options, tokenizer
    named = options.get("eos_token", "<|endoftext|>")
    end = named["content"] if isinstance(named, dict) else named
    numbers = [token["id"] for token in tokenizer.get("added_tokens", []) if token["content"] == end]
    if not numbers:
        return None
    text, end_token = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [text, end_token],
        "pair": [text, end_token, {"Sequence": {"id": "B", "type_id": 0}}, end_token],
        "special_tokens": {end: {"id": end, "ids": numbers[:1], "tokens": [end]}},
    }
    return options, tokenizer | {"post_processor": template}


def _agree(given: Config, wanted: Config) -> bool:
    # False and None mean the same.
    return all(given.get(name) == value or (not given.get(name) and not value) for name, value in wanted.items())


def _rope(theta: float) -> Config:
    return {"rope_type": "default", "rope_theta": float(theta)}


def _kept(config: Config) -> Config:
    return {name: config[name] for name in _KEPT if config.get(name) is not None}


def _head(config: Config, prefix: str) -> Config:
    """Return what a configuration says of the network's head: transformers' class, and what its outputs depend on."""
    named = next(iter(config.get("architectures") or ()), "")
    head = next((head for head in _HEADS if named.endswith(head)), "Model")
    given = {name: config[name] for name in _OF_HEAD if config.get(name) is not None}
    return {"architectures": [f"{prefix}{head}"], **given}


def _without_code(config: Config) -> Config:
    return {name: value for name, value in config.items() if name != "auto_map"}
