"""Names on disk and in Triton: a readable slug plus a digest, so that ``a/b_c`` and ``a_b/c`` differ."""

from __future__ import annotations

import hashlib
import re

from ingrain.repository.manifest import Library, Role

_SLUG_LENGTH = 48
_DIGEST_LENGTH = 10


def model_key(name: str, library: Library, pretrained: str | None = None) -> str:
    """Return the folder name of a model: safe for any file system and for Triton, and never shared by two models.

    Args:
        name: What the user calls the model.
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
