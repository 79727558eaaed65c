"""Refuses sentence-transformers models, by their JSON files, that take chat messages or no texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingrain.errors import UnsupportedModelError
from ingrain.export.model_files import unsupported

_TEMPLATES = ("chat_template.jinja", "chat_template.json")


def refuse_modalities(rules: Mapping[Any, Any] | None) -> None:
    """Raise where a ``modality_config`` has no texts, or has chat messages, into which the library makes every text.

    Models that take sounds or videos beside texts and pictures pass: these two are served.

    Args:
        rules: What the ``Transformer`` module's configuration says, or the module itself; None where it is silent, as
            before version 5.4.
    """
    if rules is None:
        return
    if "message" in rules:
        raise _messages()
    if "text" not in rules:
        taken = " and ".join(sorted(map(str, rules))) or "nothing"
        raise unsupported(
            f"The model takes {taken} and no texts, so it cannot be served as a sentence-transformers model; image "
            "encoders are served as timm models."
        )


def refuse_chat_template(folder: Path, tokenizer: Mapping[str, Any]) -> None:
    """Raise where a folder without ``modules.json`` has a chat template, by which the library then takes messages."""
    if tokenizer.get("chat_template") or any((folder / name).is_file() for name in _TEMPLATES):
        raise _messages()


def pads_to_limit(processing: Mapping[str, Any] | None) -> bool:
    """Tell whether ``processing_kwargs`` say one thing: that texts are padded to their limit, as SigLIP was trained."""
    return processing == {"text": {"padding": "max_length"}}


def _messages() -> UnsupportedModelError:
    return unsupported(
        "The model takes chat messages, in which texts and pictures may stand side by side, and which cannot be "
        "served; if it is for texts alone, save it with a sentence-transformers configuration for text."
    )
