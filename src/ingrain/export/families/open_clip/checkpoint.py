"""Checks the files of an OpenCLIP model before anything is loaded, and refuses models that cannot be converted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain.export.huggingface.architectures import refuse_architecture
from ingrain.export.huggingface.tokenizer_files import check_tokenizer_files, check_vocabulary
from ingrain.export.model_files import find_safetensors, read_json, unsupported

CONFIG = "open_clip_config.json"
# In OpenCLIP's own order of preference.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
# Configuration of a text tower of transformers. OpenCLIP itself would fetch it from the hub by name.
TEXT_CONFIG = Path("text_config") / "config.json"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "sentencepiece.bpe.model", "vocab.txt")
_TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "language", "reduction_mask"}
# A plain timm architecture. A name with a prefix (`hf-hub:`) would make timm fetch a model.
_TIMM_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")


@dataclass(frozen=True, slots=True)
class ClipCheckpoint:
    """A checked OpenCLIP folder.

    Attributes:
        folder: The model's folder.
        model: ``model_cfg`` of the configuration.
        preprocess: ``preprocess_cfg`` of the configuration.
        weights: The safetensors file.
        text_config: Folder with the configuration of a text tower of transformers; None for OpenCLIP's own towers.
    """

    folder: Path
    model: dict[str, Any]
    preprocess: dict[str, Any]
    weights: Path
    text_config: Path | None


def inspect_clip(folder: Path) -> ClipCheckpoint:
    """Check a folder by its JSON files alone.

    Raises:
        UnsupportedModelError: It is no OpenCLIP folder, has an unsupported option, or has its weights only as pickle.
    """
    config = read_json(folder / CONFIG)
    model = config.get("model_cfg")
    if not isinstance(model, dict):
        raise unsupported(f"The model's folder has no {CONFIG} with a model_cfg, so it is no OpenCLIP model.")
    if "auto_map" in config or "auto_map" in model:
        raise unsupported(f"The model's {CONFIG} names custom code (auto_map), which OpenCLIP does not run.")
    text, vision = model.get("text_cfg"), model.get("vision_cfg")
    if not isinstance(text, dict) or not isinstance(vision, dict) or not isinstance(model.get("embed_dim"), int):
        raise unsupported(f"The model's {CONFIG} lacks embed_dim, vision_cfg or text_cfg.")
    timm_name = vision.get("timm_model_name")
    if timm_name and not _TIMM_NAME.fullmatch(str(timm_name)):
        raise unsupported(f"The image tower's timm_model_name {timm_name!r} is not the name of an architecture.")
    _check_tokenizer(text, folder)
    text_config = None
    if text.get("hf_model_name"):
        text_config = folder / TEXT_CONFIG.parent
        if not (folder / TEXT_CONFIG).is_file():
            raise unsupported(
                f"The text tower is {text['hf_model_name']!r}; its configuration must be in the model's folder as "
                f"{TEXT_CONFIG.as_posix()}."
            )
        refuse_architecture(read_json(folder / TEXT_CONFIG), trust_remote_code=False)
    preprocess = config.get("preprocess_cfg") or {}
    return ClipCheckpoint(folder, model, preprocess, find_safetensors(folder, WEIGHTS), text_config)


def _check_tokenizer(text: dict[str, Any], folder: Path) -> None:
    options = text.get("tokenizer_kwargs") or {}
    if unknown := set(options) - _TOKENIZER_OPTIONS:
        raise unsupported(f"The model's tokenizer has the option {min(unknown)!r}, which is not supported.")
    if text.get("tokenizer_mode"):
        raise unsupported(f"The model's tokenizer has the mode {text['tokenizer_mode']!r}, which is not supported.")
    if text.get("hf_tokenizer_name") and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise unsupported(f"The files of the tokenizer {text['hf_tokenizer_name']!r} are not in the model's folder.")
    if text.get("hf_tokenizer_name"):
        tokenizer_config = read_json(folder / "tokenizer_config.json")
        check_tokenizer_files(folder, read_json(folder / "config.json"), tokenizer_config)
        check_vocabulary(folder, tokenizer_config)
