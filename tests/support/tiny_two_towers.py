"""Small sentence-transformers models that take texts and pictures, with random weights; nothing comes from a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_models import prepare_libraries, randomize
from tiny_tokenizers import build_tokenizer

_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_VISION = _SIZES | {"image_size": 48, "patch_size": 16}
# As it lies beside clip-ViT-B-32: sides that are bare numbers, and the name of a class that is no more.
_OLD_PROCESSOR = {
    "feature_extractor_type": "CLIPFeatureExtractor",
    "size": 48,
    "resample": 3,
    "crop_size": 48,
    "do_resize": True,
    "do_center_crop": True,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def build_clip(folder: Path) -> Path:
    """Build a CLIP laid out as sentence-transformers/clip-ViT-B-32 is: one module ``CLIPModel`` in its own folder."""
    part = folder / "0_CLIPModel"
    _save_clip(part)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (part / name).unlink(missing_ok=True)
    (part / "preprocessor_config.json").write_text(json.dumps(_OLD_PROCESSOR))
    module = {"idx": 0, "name": "0", "path": part.name, "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([module]))
    return folder


def build_clip_transformer(folder: Path, **processor: Any) -> Path:
    """Build a CLIP in the module ``Transformer`` of sentence-transformers 6, with two modules behind it.

    Args:
        folder: Where it goes.
        **processor: What the configuration of the module says of its processor (``backend``).
    """
    prepare_libraries()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Transformer

    plain = folder.with_name(f"{folder.name}.network")
    _save_clip(plain)
    dense = Dense(24, 16)
    randomize(dense)
    parts = [Transformer(str(plain), processor_kwargs=processor), dense, Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    if processor:
        config = folder / "sentence_bert_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"processor_kwargs": processor}))
    return folder


def build_siglip(folder: Path, **processing: Any) -> Path:
    """Build a SigLIP in the module ``Transformer``: squashed pictures, a sigmoid, vectors that depend on padding.

    Args:
        folder: Where it goes.
        **processing: How texts and pictures are prepared (``text={"padding": "max_length"}``).
    """
    prepare_libraries()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    tokenizer = build_tokenizer("bytes", "eos", max_tokens=64)
    tokenizer.model_input_names = ["input_ids"]
    text = _SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 32}
    network = SiglipModel(SiglipConfig(text_config=text, vision_config=_VISION))
    _fill(network)
    plain = folder.with_name(f"{folder.name}.network")
    network.save_pretrained(str(plain))
    images = SiglipImageProcessor(size={"height": 48, "width": 48}, resample=2)
    SiglipProcessor(images, tokenizer).save_pretrained(str(plain))
    part = Transformer(str(plain), processing_kwargs=processing)
    SentenceTransformer(modules=[part], device="cpu").save(str(folder), create_model_card=False)
    return folder


def _save_clip(folder: Path) -> None:
    prepare_libraries()
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    tokenizer = build_tokenizer("bytes", "bos_eos", max_tokens=77)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = _SIZES | ids | {"vocab_size": len(tokenizer), "max_position_embeddings": 77}
    network = CLIPModel(CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=24))
    _fill(network)
    network.save_pretrained(str(folder))
    images = CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    CLIPProcessor(images, tokenizer).save_pretrained(str(folder))


def _fill(network: Any) -> None:
    """Give every weight a value that shows, and the scale of similarities one that it may have."""
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        randomize(network)
        network.logit_scale.fill_(2.0)
        if hasattr(network, "logit_bias"):
            network.logit_bias.fill_(-1.5)
