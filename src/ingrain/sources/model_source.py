"""Types that describe which model to find and where its files were found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ingrain.vocabulary import Library


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the user named it, and the places to look for its files.

    Attributes:
        name: The user's name of the model.
        library: The source library.
        pretrained: OpenCLIP's weight tag.
        revision: Branch, tag or commit on the hub.
        output: Empty folder for the files made from the source.
        local_models_dir: Directory whose folders are models; looked up before the hub.
        custom_models_dir: The repository's folder of custom sources; looked up before everything else.
        token: Hub token.
        offline: True to use only the hub's cache.
        trust_remote_code: Repositories whose Python code may be run: each a ``pattern`` or ``pattern@commit``.
        pickled_weights: True to read pickled weights of models without safetensors; only pickles of plain tensors.
    """

    name: str
    library: Library
    pretrained: str | None = None
    revision: str | None = None
    output: str
    local_models_dir: str | None = None
    custom_models_dir: str | None = None
    token: str | None = None
    offline: bool = False
    trust_remote_code: tuple[str, ...] = ()
    pickled_weights: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSource:
    """A model's files, all on this machine.

    Attributes:
        folder: Folder that the source library loads.
        commit: The hub's commit (40 hex digits); None for a local folder or a custom source.
        repository: The hub's id or the name of a local folder; ``trust_remote_code`` patterns are matched against it.
        origin: Where the files were found.
    """

    folder: Path
    commit: str | None
    repository: str
    origin: Literal["custom", "local", "hub"]


def quoted(text: str) -> str:
    """Quote a user's text for an error message, cut to a hundred characters."""
    return repr(text if len(text) <= 100 else text[:100] + "…")
