"""Builds folders of all OpenCLIP architectures with random weights, with fewer layers if memory requires it."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from fast_random import fast_random
from tiny_clip import TinyClip, build_clip
from tiny_tokenizers import Kind, Template

# About 11 GiB of resident memory, nine bytes per parameter: loaded weights, the file being written, and a session.
MOST_PARAMETERS = 1_250_000_000
_FEW_LAYERS = 4
_FEW_WORDS = 50_000
_SEED = 20261122

_BERT = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "max_position_embeddings": 514, "type_vocab_size": 1}
_ROBERTA = _BERT | {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_MT5 = {
    "model_type": "mt5", "vocab_size": 250112, "d_kv": 64, "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": True, "num_decoder_layers": 1, "pad_token_id": 0, "eos_token_id": 1,
    "tie_word_embeddings": False,
}  # fmt: skip
_NLLB = {
    "model_type": "m2m_100", "vocab_size": 256206, "d_model": 1024, "encoder_attention_heads": 16,
    "decoder_attention_heads": 16, "max_position_embeddings": 1024, "is_encoder_decoder": True, "decoder_layers": 1,
    "pad_token_id": 1, "scale_embedding": True,
}  # fmt: skip
# The encoders of the published configurations; OpenCLIP creates a decoder, too, but discards it.
_TEXT_TOWERS: dict[str, dict[str, Any]] = {
    "roberta-base": {"model_type": "roberta", "vocab_size": 50265, **_ROBERTA},
    "xlm-roberta-base": {"model_type": "xlm-roberta", "vocab_size": 250002, **_ROBERTA},
    "xlm-roberta-large": {
        "model_type": "xlm-roberta", "vocab_size": 250002, **_BERT, "hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": 4096,
    },
    "google/mt5-base": _MT5 | {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "google/mt5-xl": _MT5 | {"d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
    "facebook/nllb-200-distilled-600M": _NLLB | {"encoder_layers": 12, "encoder_ffn_dim": 4096},
    "facebook/nllb-200-distilled-1.3B": _NLLB | {"encoder_layers": 24, "encoder_ffn_dim": 8192},
}  # fmt: skip
# Stand-ins for tokenizers from the hub, with the same special tokens and ids.
_TOKENIZERS: dict[str, tuple[Kind, Template]] = {
    "bert-base-uncased": ("wordpiece", "cls_sep"),
    "facebook/xlm-v-base": ("unigram", "bos_eos"),
    "xlm-roberta-base": ("unigram", "bos_eos"),
    "xlm-roberta-large": ("unigram", "bos_eos"),
    "roberta-base": ("roberta", "bos_eos"),
    "google/mt5-base": ("t5", "eos"),
    "google/mt5-xl": ("t5", "eos"),
    "facebook/nllb-200-distilled-600M": ("unigram", "bos_eos"),
    "facebook/nllb-200-distilled-1.3B": ("unigram", "bos_eos"),
}
_DEPTHS = ("num_layers", "num_hidden_layers", "encoder_layers")


@dataclass(frozen=True, slots=True)
class ClipSubject:
    """An architecture to build.

    Attributes:
        tiny: The model to build.
        timm_options: Further arguments for timm's architectures; OpenCLIP's configuration cannot set a depth.
        reduced: Description of the reduction; empty at full size.
        notes: Further notes for the table.
    """

    tiny: TinyClip
    timm_options: dict[str, Any]
    reduced: str = ""
    notes: str = ""


def subject(name: str) -> ClipSubject:
    """Return one of ``open_clip.list_models()`` at full size, or with few layers if it is too large."""
    import open_clip

    model = open_clip.get_model_config(name)
    text = model["text_cfg"]
    tower = text_tower_config(model)
    vocabulary = text.get("hf_tokenizer_name")
    tokenizer = None if vocabulary is None else _TOKENIZERS.get(vocabulary, ("t5", "eos"))
    notes = "" if tokenizer is None else "stand-in for the tokenizer"
    tiny = TinyClip(model=model, preprocess=_preprocess(name), tokenizer=tokenizer, text_config=tower)
    if parameters(model, tower) <= MOST_PARAMETERS:
        return ClipSubject(tiny, {}, notes=notes)
    return _reduced(tiny, notes)


def text_tower_config(model: dict[str, Any]) -> dict[str, Any] | None:
    """Return the configuration of the text tower of transformers that a ``model_cfg`` names, if any."""
    return _TEXT_TOWERS.get(model["text_cfg"].get("hf_model_name", ""))


def place(subject: ClipSubject, folder: Path) -> Path:
    """Build the folder of a subject."""
    with timm_depth(subject.timm_options), fast_random(_SEED):
        return build_clip(subject.tiny, folder)


def timm_depth(options: dict[str, Any]) -> ExitStack:
    """Build OpenCLIP's timm towers with further arguments while the returned context is open."""
    import timm

    stack = ExitStack()
    if options:
        stack.enter_context(mock.patch.object(timm, "create_model", partial(timm.create_model, **options)))
    return stack


def parameters(model: dict[str, Any], tower: dict[str, Any] | None) -> int:
    """Count the parameters of an architecture without allocating them."""
    import torch
    from open_clip.model import _build_text_tower, _build_vision_tower

    model = copy.deepcopy(model)
    with torch.device("meta"):
        parts = [_build_vision_tower(model["embed_dim"], model["vision_cfg"])]
        if tower is None:
            parts.append(_build_text_tower(model["embed_dim"], model["text_cfg"]))
    count = sum(int(p.numel()) for part in parts for p in part.parameters())
    return count + (_count_encoder(tower) if tower is not None else 0)


def _count_encoder(tower: dict[str, Any]) -> int:
    """Estimate the parameters: embeddings, and attention and two or three matrices per layer."""
    width = tower.get("d_model") or tower["hidden_size"]
    inner = next(tower[key] for key in ("d_ff", "intermediate_size", "encoder_ffn_dim") if key in tower)
    depth = next(tower[key] for key in _DEPTHS if key in tower)
    matrices = 3 if tower["model_type"] == "mt5" else 2
    # OpenCLIP first creates a whole mT5 or NLLB, so one layer of the decoder takes memory for a while.
    return int(tower["vocab_size"] * width + (depth + 2) * (4 * width * width + matrices * width * inner))


def _reduced(tiny: TinyClip, notes: str) -> ClipSubject:
    model, cut = copy.deepcopy(tiny.model), []
    vision, text = model["vision_cfg"], model["text_cfg"]
    options: dict[str, Any] = {}
    if "timm_model_name" in vision:
        convolutional = "convnext" in vision["timm_model_name"]
        options = {"depths": (1, 1, 2, 1)} if convolutional else {"depth": _FEW_LAYERS}
        cut.append("image: 5 blocks" if convolutional else f"image: {_FEW_LAYERS} layers")
    elif isinstance(vision["layers"], int):
        cut.append(f"image: {_FEW_LAYERS} of {vision['layers']} layers")
        vision["layers"] = _FEW_LAYERS
    tower = copy.deepcopy(tiny.text_config)
    if tower is not None:
        key = next(key for key in _DEPTHS if key in tower)
        cut.append(f"text: {_FEW_LAYERS} of {tower[key]} layers, {_FEW_WORDS} words")
        tower |= {key: _FEW_LAYERS, "vocab_size": _FEW_WORDS}
    else:
        cut.append(f"text: {_FEW_LAYERS} of {text['layers']} layers")
        text["layers"] = _FEW_LAYERS
        if text["vocab_size"] > 300_000:
            text["vocab_size"] = _FEW_WORDS
            cut.append(f"{_FEW_WORDS} words")
    smaller = TinyClip(model=model, preprocess=tiny.preprocess, tokenizer=tiny.tokenizer, text_config=tower)
    return ClipSubject(smaller, options, "; ".join(cut), notes)


def _preprocess(name: str) -> dict[str, Any]:
    """Return the image preprocessing of the first published weights; empty if there are none."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(name)
    config = get_pretrained_cfg(name, tags[0]) if tags else {}
    return {key: config[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in config}
