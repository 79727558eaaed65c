"""OpenCLIP folders with random weights, built on the spot: small ones of every kind of tower, and any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiny_models import prepare_libraries
from tiny_tokenizers import Kind, Template, build_tokenizer

_SIZE = 32
_WIDTH = 32
# A small network's vocabulary of CLIP's own tokenizer cannot be small: its ids are what they are.
_CLIP_VOCABULARY = 49408
# Above 1, for what activations take away.
_GAIN = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyClip:
    """How to build an OpenCLIP folder.

    Attributes:
        model: ``model_cfg``.
        preprocess: ``preprocess_cfg``, as far as it is not the default.
        tokenizer: Kind and template of a stand-in for a Hugging Face tokenizer; None for CLIP's own.
        text_config: Configuration of a text tower of transformers.
        any_length: True where the text graph must take any length.
    """

    model: dict[str, Any]
    preprocess: dict[str, Any] = field(default_factory=dict)
    tokenizer: tuple[Kind, Template] | None = None
    text_config: dict[str, Any] | None = None
    any_length: bool = True


def _clip(
    *,
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **rest: Any,
) -> TinyClip:
    small = {"image_size": _SIZE, "layers": 2, "width": _WIDTH, "patch_size": 8, "head_width": 16}
    words = {"context_length": 77, "vocab_size": _CLIP_VOCABULARY, "width": _WIDTH, "heads": 2, "layers": 2}
    config = {"embed_dim": 24, "vision_cfg": vision or small, "text_cfg": words | (text or {}), **(model or {})}
    return TinyClip(model=config, **rest)


def _timm(name: str, **options: Any) -> dict[str, Any]:
    return {"timm_model_name": name, "timm_pool": "", "timm_proj": "linear", "image_size": 224, **options}


def _hugging_face(
    config: dict[str, Any],
    tokenizer: tuple[Kind, Template],
    pooler: str = "mean_pooler",
    *,
    vision: dict[str, Any] | None = None,
    preprocess: dict[str, Any] | None = None,
) -> TinyClip:
    text = {
        "hf_model_name": "example/text-tower",
        "hf_tokenizer_name": "example/text-tower",
        "hf_proj_type": "mlp",
        "hf_pooler_type": pooler,
    }
    model = _clip(vision=vision).model | {"text_cfg": text}
    return TinyClip(model=model, preprocess=preprocess or {}, tokenizer=tokenizer, text_config=config)


_HF_TOKENS = {"hf_tokenizer_name": "example/tokenizer", "vocab_size": 500}
_ENCODER = {
    "vocab_size": 500, "hidden_size": _WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 96, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip

# Each kind of text tower, and each kind of image tower beside one of them: a conversion takes seconds.
TINY_CLIPS: dict[str, TinyClip] = {
    "CLIP, ViT": _clip(model={"quick_gelu": True}),
    "SigLIP": _clip(
        text=_HF_TOKENS
        | {"context_length": 64, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
        | {"tokenizer_kwargs": {"clean": "canonicalize"}},
        model={"custom_text": True, "init_logit_bias": -10},
        preprocess={"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
        tokenizer=("t5", "eos"),
        any_length=False,
    ),
    "CLIPA": _clip(
        text=_HF_TOKENS
        | {"context_length": 32, "no_causal_mask": True, "pool_type": "last"}
        | {"tokenizer_kwargs": {"strip_sep_token": True}},
        preprocess={"interpolation": "bilinear", "resize_mode": "squash"},
        tokenizer=("wordpiece", "cls_sep"),
        any_length=False,
    ),
    "MobileCLIP, padding attends, ConvNeXt": _clip(
        vision=_timm("convnext_atto", timm_pool="avg", image_size=96),
        text={"no_causal_mask": True},
        model={"custom_text": True},
        preprocess={"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
        any_length=False,
    ),
    "MetaCLIP 2, worldwide": _clip(
        text=_HF_TOKENS | {"pool_type": "eos", "eos_id": 2}, tokenizer=("unigram", "bos_eos")
    ),
    "CoCa": _clip(
        vision={
            "image_size": _SIZE, "layers": 2, "width": _WIDTH, "patch_size": 8, "head_width": 16,
            "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True,
        },
        text={"context_length": 76, "embed_cls": True, "output_tokens": True},
        model={
            "custom_text": True,
            "multimodal_cfg": {"context_length": 76, "vocab_size": 50, "width": 24, "heads": 2, "layers": 1},
        },
    ),
    "RoBERTa": _hugging_face({"model_type": "roberta", **_ENCODER}, ("roberta", "bos_eos")),
    "XLM-RoBERTa, class token, ResNet": _hugging_face(
        {"model_type": "xlm-roberta", **_ENCODER},
        ("unigram", "bos_eos"),
        "cls_pooler",
        vision={"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None, "head_width": 16},
    ),
    "mT5": _hugging_face(
        {
            "model_type": "mt5", "vocab_size": 500, "d_model": _WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2,
            "num_heads": 4, "is_encoder_decoder": True, "feed_forward_proj": "gated-gelu", "pad_token_id": 0,
        },
        ("t5", "eos"),
    ),
    "NLLB, not square, longest side": _hugging_face(
        {
            "model_type": "m2m_100", "vocab_size": 500, "d_model": _WIDTH, "encoder_layers": 2, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
            "max_position_embeddings": 96, "is_encoder_decoder": True, "pad_token_id": 1,
        },
        ("unigram", "bos_eos"),
        "cls_pooler",
        vision={"image_size": [32, 48], "layers": 2, "width": _WIDTH, "patch_size": 8, "head_width": 16},
        preprocess={"resize_mode": "longest", "interpolation": "bilinear", "fill_color": 120},
    ),
}  # fmt: skip


def build_tiny_clip(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Build the small model of one of ``TINY_CLIPS``.

    Args:
        name: Key of ``TINY_CLIPS``.
        folder: Where it goes; made if missing.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    return build_clip(TINY_CLIPS[name], folder, seed=seed)


def build_clip(tiny: TinyClip, folder: Path, *, seed: int = 0) -> Path:
    """Build an OpenCLIP folder: configuration, tokenizer and random weights as safetensors.

    Args:
        tiny: What to build.
        folder: Where it goes; made if missing.
        seed: Seed of the weights.

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import torch
    from safetensors.torch import save_file

    from ingrain.export.families.open_clip.checkpoint import CONFIG, TEXT_CONFIG, WEIGHTS
    from ingrain.export.families.open_clip.source import create_network
    from ingrain.export.families.open_clip.text_graph import text_tower

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": tiny.model, "preprocess_cfg": tiny.preprocess}
    (folder / CONFIG).write_text(json.dumps(config))
    text_config = None
    if tiny.text_config is not None:
        (folder / TEXT_CONFIG).parent.mkdir(exist_ok=True)
        (folder / TEXT_CONFIG).write_text(json.dumps(tiny.text_config))
        text_config = folder / TEXT_CONFIG.parent
    if tiny.tokenizer is not None:
        build_tokenizer(*tiny.tokenizer).save_pretrained(str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = create_network(tiny.model, tiny.preprocess, text_config).eval()
        unsettle(text_tower(network) if hasattr(network, "text") else network)
        unsettle(network.visual, _pair(network.visual.image_size))
    save_file(_apart(network.state_dict()), folder / WEIGHTS[0])
    return folder


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _apart(weights: dict[str, Any]) -> dict[str, Any]:
    """Copy tied weights: safetensors refuses tensors that share memory."""
    seen: set[int] = set()
    copied = {}
    for name, value in weights.items():
        copied[name] = value.clone() if value.data_ptr() in seen else value.contiguous()
        seen.add(value.data_ptr())
    return copied


def unsettle(network: Any, image_size: tuple[int, int] | None = None) -> None:
    """Make a freshly built network depend on what it is given, in every layer.

    As libraries make them, blocks do nothing (scales of 0 or 1e-6), signals fade from layer to layer, and an image
    tower answers nearly the same for every picture, so that a wrong graph would look right. Here constants get a value
    that shows, weights keep the strength of their input, and batch norms get the statistics of pictures.

    Args:
        network: Takes float32 ``[B, 3, H, W]``, where ``image_size`` is given.
        image_size: ``(height, width)`` of its pictures; None for a network without batch norms.
    """
    import torch

    with torch.no_grad():
        for tensor in _constants(network):
            value = float(tensor.flatten()[0])
            if value == 0:
                tensor.normal_(0.0, 0.02)
            elif value < 0.5:
                tensor.uniform_(0.1, 0.3)
            else:
                tensor.normal_(1.0, 0.1).clamp_(min=0.5)
        for weight, gain in _weights(network):
            wanted = gain / weight[0].numel() ** 0.5
            weight.mul_(max(1.0, wanted / float(weight.std().clamp(min=1e-9))))
        if image_size is not None:
            _settle_batch_norms(network, image_size)


def _settle_batch_norms(network: Any, image_size: tuple[int, int]) -> None:
    """Have batch norms take their statistics from pictures of several colours."""
    import torch

    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the plain mean of what it sees
        module.train()
    # Of noise alone, convolutions leave little, so that a picture with shapes would swamp what comes after.
    colours, shapes, noise = (torch.randn(4, 3, *size) for size in ((1, 1), (7, 7), image_size))
    network(colours + torch.nn.functional.interpolate(shapes, image_size, mode="bicubic") + 0.3 * noise)
    for module in norms:
        module.momentum = 0.1
        module.eval()


def _weights(network: Any) -> Iterator[tuple[Any, float]]:
    """Yield the matrices and kernels that signals go through, and their gain; tables that are looked up are none."""
    import torch

    unscaled = _unscaled_queries(network)
    for module in network.modules():
        if not isinstance(module, torch.nn.Embedding):
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.dim() > 1 and name.endswith("weight"):
                    yield parameter, _GAIN / unscaled.get(id(parameter), 1.0)


def _unscaled_queries(network: Any) -> dict[int, float]:
    """Return what T5's queries are to be divided by, as its attention does not divide by the root of a head's width.

    At the strength of other weights each token would look at one other alone, and which one would hang on rounding:
    12 layers in float32 are then 5e-5 from themselves in float64, and 3e-7 with this.
    """
    attentions = (module for module in network.modules() if hasattr(module, "key_value_proj_dim"))
    return {id(module.q.weight): module.key_value_proj_dim**0.5 for module in attentions}


def _constants(network: Any) -> Iterator[Any]:
    for tensor in network.parameters():
        if tensor.numel() > 1 and tensor.is_floating_point():
            flat = tensor.flatten()
            # The ends first: few tensors are constant, and looking at all of a large one takes long.
            if bool(flat[0] == flat[-1]) and bool((flat == flat[0]).all()):
                yield tensor
