"""Puts the models of a bundle into the repository before the server starts."""

from __future__ import annotations

from ingrain.errors import SettingsError
from ingrain.repository.bundle.reader import read_bundle
from ingrain.repository.bundle.unpack import unpack
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Repository
from ingrain.settings import Settings


def bundled_models(settings: Settings, repository: Repository) -> list[ModelRef]:
    """Check the whole bundle of the settings, publish its models, and return them as models to load; none without one.

    Raises:
        RepositoryError: The bundle is damaged, tampered with, of a newer format, or not signed for the key.
        SettingsError: The key cannot be used, or there is no bundle for it.
    """
    if settings.bundle is None:
        if settings.bundle_public_key is not None:
            raise SettingsError(
                "INGRAIN_BUNDLE_PUBLIC_KEY is set, but not INGRAIN_BUNDLE.", param="INGRAIN_BUNDLE_PUBLIC_KEY"
            )
        return []
    bundle = read_bundle(settings.bundle, settings.bundle_public_key)
    unpack(bundle, repository)
    return [
        ModelRef(name=one.name, library=one.library, pretrained=one.pretrained, precision=one.precision)
        for one in bundle.manifests.values()
    ]
