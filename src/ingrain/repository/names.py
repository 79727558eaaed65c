"""Names of models on disk and of graphs in Triton: a readable slug and a digest that keeps them distinct."""

from __future__ import annotations

import hashlib
import re

from ingrain.vocabulary import Library, Role

_SLUG_LENGTH = 48
_DIGEST_LENGTH = 10
_GRAPH_NAME = re.compile(rf"(?P<key>[a-z0-9-]+-[0-9a-f]{{{_DIGEST_LENGTH}}})\.[a-z_]+")


def model_key(name: str, library: Library, pretrained: str | None = None) -> str:
    """Return the folder name of a model: valid in any file system and in Triton, and unique per model.

    Args:
        name: The user's name of the model.
        library: The source library.
        pretrained: OpenCLIP's weight tag.
    """
    identity = "\n".join((library, name, pretrained or ""))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST_LENGTH]
    words = f"{name}-{pretrained}" if pretrained else name
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{slug or 'model'}-{digest}"


def graph_name(key: str, role: Role) -> str:
    """Return Triton's name of one graph of the model with this key."""
    return f"{key}.{role}"


def key_of_graph(name: str) -> str | None:
    """Return the model key in a graph's name, or None if ``graph_name`` did not make the name."""
    match = _GRAPH_NAME.fullmatch(name)
    return match["key"] if match else None
