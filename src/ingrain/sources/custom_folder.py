"""Finds the folder of a custom source."""

from __future__ import annotations

from pathlib import Path

from ingrain.errors import DamagedEntryError, InvalidRequestError
from ingrain.repository.custom import CustomSources
from ingrain.repository.names import model_key
from ingrain.sources.model_source import SourceSpec


def find_custom(spec: SourceSpec) -> Path | None:
    """Return the files of a custom source, or None where the spec names none.

    Raises:
        InvalidRequestError: A revision was given; custom sources have none.
        DamagedEntryError: The source lacks a file.
    """
    if spec.custom_models_dir is None:
        return None
    sources, key = CustomSources(Path(spec.custom_models_dir)), model_key(spec.name, spec.library, spec.pretrained)
    try:
        found = sources.find(key)
    except DamagedEntryError as error:
        raise DamagedEntryError(
            f"The custom model {spec.name!r} is damaged: {error.message} Remove it with DELETE /delete_model and "
            "download it again.",
            param="name",
        ) from error
    if found is None:
        return None
    if spec.revision is not None:
        raise InvalidRequestError(
            f"{spec.name!r} is a custom model, which has no revisions; leave 'revision' out.", param="revision"
        )
    return sources.files_of(key)
