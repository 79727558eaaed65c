"""Parses models in settings: ``name``, ``name@revision``, ``library:name@revision#precision``."""

from __future__ import annotations

from typing import cast, get_args

from ingrain.errors import SettingsError
from ingrain.libraries import LIBRARIES
from ingrain.repository.models_to_load import ModelRef
from ingrain.vocabulary import Library, Precision


def parse_model(text: str) -> ModelRef:
    """Parse one model; the default library is sentence-transformers.

    The part after ``@`` is the revision on the hub or, for OpenCLIP, the ``pretrained`` tag. The part after ``#`` is
    the precision.

    Raises:
        SettingsError: The name is empty, or the precision is unknown.
    """
    library: Library = "sentence_transformers"
    rest, _, precision = text.partition("#")
    for known in LIBRARIES:
        if rest.startswith(f"{known}:"):
            library, rest = known, rest[len(known) + 1 :]
    name, _, tag = rest.partition("@")
    if not name:
        raise SettingsError(f"INGRAIN_MODELS has an entry without a model name: {text!r}.", param="INGRAIN_MODELS")
    pretrained, revision = (tag or None, None) if LIBRARIES[library].has_pretrained_tag else (None, tag or None)
    return ModelRef(
        name=name, library=library, pretrained=pretrained, revision=revision, precision=_precision(precision, text)
    )


def _precision(given: str, text: str) -> Precision | None:
    if not given:
        return None
    if given not in get_args(Precision):
        raise SettingsError(
            f"INGRAIN_MODELS has the unknown precision {given!r} in {text!r}; it must be one of "
            f"{', '.join(get_args(Precision))}.",
            param="INGRAIN_MODELS",
        )
    return cast("Precision", given)
