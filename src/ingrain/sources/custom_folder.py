"""Finds the folder of a custom source."""

from __future__ import annotations

from pathlib import Path

from ingrain.errors import DamagedEntryError, InvalidRequestError
from ingrain.repository.custom import CustomSources
from ingrain.repository.names import model_key
from ingrain.sources.model_source import SourceSpec


def find_custom(spec: SourceSpec) -> Path | None:
    """Return the folder of the custom source that a spec names, or None if there is no such source.

    Raises:
        InvalidRequestError: The spec has a revision; custom sources have none.
        DamagedEntryError: A file of the source is missing.
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
