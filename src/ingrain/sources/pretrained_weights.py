"""Looks up the hub repository of a model that OpenCLIP or timm has in its own list."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from ingrain.errors import InvalidRequestError, SourceNotFoundError, UnsupportedModelError
from ingrain.libraries import LIBRARIES
from ingrain.sources.model_source import quoted
from ingrain.sources.published_names import PREPROCESSING, clip_architecture, clip_names, timm_names

logger = logging.getLogger("ingrain.sources")

# OpenCLIP's names of the weight files in a repository, unless its list has another one.
CLIP_WEIGHTS = LIBRARIES["open_clip"].weights_file
CLIP_PICKLED = "open_clip_pytorch_model.bin"

_MOST_NAMES_TOLD = 12


@dataclass(frozen=True, slots=True)
class ClipWeights:
    """Published weights of one of OpenCLIP's own architectures.

    Attributes:
        repo_id: The model's id on the hub.
        file: Name of the safetensors file.
        pickled: Name of the pickled weights, for a repository without safetensors.
        config: Contents of an equivalent ``open_clip_config.json``.
    """

    repo_id: str
    file: str
    pickled: str
    config: dict[str, Any]


def clip_weights(name: str, pretrained: str | None) -> ClipWeights:
    """Return the hub repository of the weights that OpenCLIP has for an architecture and a tag.

    Args:
        name: One of ``open_clip.list_models()``; a slash becomes a dash, as in OpenCLIP (``ViT-B/32``).
        pretrained: One of ``open_clip.list_pretrained_tags_by_model(name)``.

    Raises:
        SourceNotFoundError: No such architecture.
        InvalidRequestError: The tag is missing, or the architecture has no such tag.
        UnsupportedModelError: The weights are not on the hub.
    """
    architecture = name.replace("/", "-")
    model = clip_architecture(architecture)
    if model is None:
        raise SourceNotFoundError(
            f"{quoted(name)} is neither a folder below the directory of local models (INGRAIN_LOCAL_MODELS_DIR) nor an "
            "architecture of OpenCLIP; a model on the hub is written 'hf-hub:organization/name'.",
            param="name",
        )
    tags = clip_names().get(architecture, {})
    # As in OpenCLIP, neither case nor the kind of dash matters.
    published = tags.get(pretrained.lower().replace("-", "_")) if pretrained else None
    if published is None:
        raise InvalidRequestError(_no_weights(architecture, pretrained, list(tags)), param="pretrained")
    if bool(published.get("quick_gelu")) != bool(model.get("quick_gelu")):
        # Like OpenCLIP, warn and use the architecture's own activation.
        logger.warning(
            "The weights %r of %r were trained with another activation; perhaps '…-quickgelu' is meant.",
            pretrained,
            architecture,
        )
    repo_id, _, file = str(published.get("hf_hub") or "").rpartition("/")
    if not repo_id:
        raise UnsupportedModelError(
            f"The weights {pretrained!r} of {architecture!r} are not on the hub, so they cannot be fetched.",
            param="pretrained",
        )
    pickled = file or CLIP_PICKLED
    file = CLIP_WEIGHTS if pickled == CLIP_PICKLED else re.sub(r"\.(bin|pth?)$", ".safetensors", pickled)
    preprocess = {key: published[key] for key in PREPROCESSING if key in published}
    return ClipWeights(repo_id, file, pickled, {"model_cfg": model, "preprocess_cfg": preprocess})


def timm_repo(name: str) -> str:
    """Return the hub id of the weights that timm loads for a name (``resnet50``, ``resnet50.a1_in1k``).

    Raises:
        SourceNotFoundError: timm has no such architecture or tag.
        UnsupportedModelError: The weights are not on the hub.
    """
    names = timm_names()
    if name not in names:
        raise SourceNotFoundError(
            f"{quoted(name)} is neither a folder below the directory of local models (INGRAIN_LOCAL_MODELS_DIR) nor a "
            "timm model; a model on the hub is written 'organization/name'.",
            param="name",
        )
    repo_id = names[name]
    if not repo_id:
        raise UnsupportedModelError(
            f"timm has no weights of {name!r} on the hub, so they cannot be fetched.",
            param="name",
        )
    return repo_id


def _no_weights(architecture: str, pretrained: str | None, tags: list[str]) -> str:
    if not tags:
        return f"OpenCLIP has published no weights of {architecture!r}; a network without them cannot be served."
    listed = ", ".join(map(repr, tags[:_MOST_NAMES_TOLD])) + (", …" if len(tags) > _MOST_NAMES_TOLD else "")
    if pretrained is None:
        return f"{architecture!r} alone has no weights; set 'pretrained' to one of {listed}."
    return f"{architecture!r} has no weights {quoted(pretrained)}; 'pretrained' is one of {listed}."
