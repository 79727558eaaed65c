"""Completes the folder of a custom OpenCLIP model: writes the preprocessing into the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import InvalidRequestError
from ingrain.libraries import LIBRARIES
from ingrain.sources.custom.json_file import read_object, write_json
from ingrain.sources.custom.layout import TOKENIZER_FILES, Layout, SideFile
from ingrain.sources.custom.tokenizer_config import clean_tokenizer_config

_CONFIG = LIBRARIES["open_clip"].config_file
_INTERPOLATIONS = ("bicubic", "bilinear")


def complete(request: DownloadCustomModelRequest, folder: Path, architecture: dict[str, Any] | None) -> None:
    """Write the request's preprocessing into the configuration.

    Raises:
        InvalidRequestError: The configuration is not one of OpenCLIP, or contradicts the other fields.
    """
    config = read_object(folder / _CONFIG, "configJsonUrl") if architecture is None else architecture
    model, preprocess = config.get("model_cfg"), config.get("preprocess_cfg") or {}
    text = model.get("text_cfg") if isinstance(model, dict) else None
    if not isinstance(text, dict) or not isinstance(preprocess, dict):
        raise InvalidRequestError(
            "The file at configJsonUrl is not an open_clip_config.json with a model_cfg.", param="configJsonUrl"
        )
    if request.interpolation not in (None, *_INTERPOLATIONS):
        raise InvalidRequestError(
            f"interpolation is {request.interpolation!r}; OpenCLIP supports {' and '.join(_INTERPOLATIONS)}.",
            param="interpolation",
        )
    _check_clip_tokenizer(request, text)
    clean_tokenizer_config(request, folder)
    given = {
        "mode": request.mode,
        "mean": request.mean,
        "std": request.std,
        "interpolation": request.interpolation,
        "resize_mode": request.resize_mode,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    write_json(folder / _CONFIG, {**config, "preprocess_cfg": {**preprocess, **overrides}})


def _check_clip_tokenizer(request: DownloadCustomModelRequest, text: dict[str, Any]) -> None:
    """Refuse tokenizer files that OpenCLIP would ignore, and incomplete sets of them."""
    fields = {
        "tokenizerJsonUrl": request.tokenizer_json_url,
        "vocabTxtUrl": request.vocab_txt_url,
        "tokenizerConfigJsonUrl": request.tokenizer_config_json_url,
        "specialTokensMapJsonUrl": request.special_tokens_map_json_url,
    }
    given = [name for name, url in fields.items() if url is not None]
    if not given:
        return  # CLIP's own tokenizer, or the hub's tokenizer that the configuration names
    if not text.get("hf_tokenizer_name"):
        raise InvalidRequestError(
            f"The model's configuration names no tokenizer (hf_tokenizer_name), so the model uses CLIP's own; leave "
            f"{given[0]!r} out.",
            param=given[0],
        )
    if not {"tokenizerJsonUrl", "vocabTxtUrl"} & set(given):
        raise InvalidRequestError(
            f"{given[0]!r} is of no use without the tokenizer; give 'tokenizerJsonUrl', or 'vocabTxtUrl'.",
            param="tokenizerJsonUrl",
        )
    if "tokenizerConfigJsonUrl" not in given:
        raise InvalidRequestError(
            "OpenCLIP reads a tokenizer together with its tokenizer_config.json; give 'tokenizerConfigJsonUrl'.",
            param="tokenizerConfigJsonUrl",
        )


LAYOUT = Layout(
    side_files={"config_json_url": SideFile(path=_CONFIG), **TOKENIZER_FILES},
    values=frozenset({"pretrained", "mode", "mean", "std", "interpolation", "resize_mode"}),
    complete=complete,
)
