"""The name of a model with what its files may be read from, and where they were found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ingrain.vocabulary import Library


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the user named it, and what its files may be read from.

    Attributes:
        name: What the user calls the model.
        library: The source library.
        pretrained: OpenCLIP's weight tag.
        revision: Branch, tag or commit on the hub.
        output: Empty folder for what is made from the source.
        local_models_dir: Directory whose folders are models; looked up before the hub.
        custom_models_dir: The repository's folder of custom sources; looked up before everything else.
        token: Hub token.
        offline: True to use only what the hub's cache holds.
        trust_remote_code: Repositories whose Python code may be run: patterns, each alone or as ``pattern@commit``.
        pickled_weights: True to read weights that are there as pickle alone, as data, where they hold only tensors.
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
        folder: What the source library loads.
        commit: The hub's commit (40 hex digits); None for a local folder or a custom source.
        repository: The hub's id, or the name of a local folder: what code in it is called where code is allowed.
        origin: Where the files came from.
    """

    folder: Path
    commit: str | None
    repository: str
    origin: Literal["custom", "local", "hub"]


def quoted(text: str) -> str:
    """Return what a user wrote as an error message quotes it: the first hundred characters."""
    return repr(text if len(text) <= 100 else text[:100] + "…")
