"""Refuses sentence-transformers models that take chat messages, or no texts, by their JSON files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingrain.errors import UnsupportedModelError
from ingrain.export.model_files import read_json, unsupported

_TEMPLATE = "chat_template.jinja"
_TEMPLATES = (_TEMPLATE, "chat_template.json")
_PAIR_ROLES = ("query", "document")


# How many tokens a pair may have, and how it is padded, are rules of the server.
_NOT_FOR_TEMPLATES = {"padding", "truncation", "max_length", "return_tensors"}


def refuse_modalities(rules: Mapping[Any, Any] | None, *, takes_messages: bool = False) -> None:
    """Raise if a ``modality_config`` has no texts, or has chat messages: the library converts every text to one.

    Models that also take audio or video pass; only their texts and images are served.

    Args:
        rules: The ``Transformer`` module's ``modality_config``; None in models from before version 5.4.
        takes_messages: True: accept chat messages, for models that make one of a pair of texts.
    """
    if rules is None:
        return
    if "message" in rules and not takes_messages:
        raise _messages()
    if "text" not in rules:
        taken = " and ".join(sorted(map(str, rules))) or "nothing"
        raise unsupported(
            f"The model takes {taken} and no texts, so it cannot be served as a sentence-transformers model. Image "
            "encoders are served as timm models."
        )


def refuse_chat_template(folder: Path, tokenizer: Mapping[str, Any]) -> None:
    """Raise if a folder without ``modules.json`` has a chat template: the library would then expect chat messages."""
    if tokenizer.get("chat_template") or any((folder / name).is_file() for name in _TEMPLATES):
        raise _messages()


def has_pair_template(folder: Path) -> bool:
    """Return True if a folder's chat template names the two roles that sentence-transformers gives a pair of texts."""
    template: Any = read_json(folder / "tokenizer_config.json").get("chat_template")
    if (folder / _TEMPLATE).is_file():
        template = (folder / _TEMPLATE).read_text(encoding="utf-8", errors="replace")
    return isinstance(template, str) and all(re.search(f"[\"']{role}[\"']", template) for role in _PAIR_ROLES)


def pads_to_limit(processing: Mapping[str, Any] | None) -> bool:
    """Return True if ``processing_kwargs`` say only that texts are padded to the maximum length, as for SigLIP."""
    return processing == {"text": {"padding": "max_length"}}


def is_only_for_template(processing: Mapping[str, Any]) -> bool:
    """Return True if ``processing_kwargs`` have only options of the chat template, such as a start of the answer.

    The number of logits to keep may be among them: the graph has one score per pair in any case.
    """
    for part, options in processing.items():
        if part == "text" and set(options) == {"logits_to_keep"}:
            continue
        if part != "chat_template" or set(options) & _NOT_FOR_TEMPLATES:
            return False
    return True


def _messages() -> UnsupportedModelError:
    return unsupported(
        "The model takes chat messages, which may mix texts and images; such models cannot be served, except those "
        "that score pairs of texts (`task` 'rerank'). If the model is for texts alone, save it with a "
        "sentence-transformers configuration for text."
    )
