"""Models as they are written in settings: ``name``, ``name@revision``, ``library:name@revision``."""

from __future__ import annotations

from typing import get_args

from ingrain.errors import SettingsError
from ingrain.repository.desired import ModelRef
from ingrain.repository.manifest import Library


def parse_model(text: str) -> ModelRef:
    """Read one model; without a library it is a sentence-transformers one.

    What follows ``@`` is the revision on the hub or, for OpenCLIP, the ``pretrained`` tag.

    Raises:
        SettingsError: There is no name in it.
    """
    library: Library = "sentence_transformers"
    rest = text
    for known in get_args(Library):
        if text.startswith(f"{known}:"):
            library, rest = known, text[len(known) + 1 :]
    name, _, tag = rest.partition("@")
    if not name:
        raise SettingsError(f"INGRAIN_MODELS names a model without a name: {text!r}.", param="INGRAIN_MODELS")
    if library == "open_clip":
        return ModelRef(name=name, library=library, pretrained=tag or None)
    return ModelRef(name=name, library=library, revision=tag or None)
