"""Defines the settings of where models lie; ``Settings`` has them with all others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ingrain.settings.kinds import NotNegative, setting
from ingrain.settings.listen_fields import ListenSettings


class RepositorySettings(ListenSettings, frozen=True, kw_only=True):
    """Where models lie, and which of them come from where. ``repository`` is a folder or a URL."""

    repository: Annotated[
        str,
        setting(
            "INGRAIN_REPOSITORY",
            "Folder of the model repository; its subfolder `triton/` is Triton's. Or object storage: "
            "`s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` (docs/object-storage.md).",
        ),
    ] = "~/.local/share/ingrain"
    repository_cache: Annotated[
        Path,
        setting(
            "INGRAIN_REPOSITORY_CACHE",
            "Folder for local copies of repositories in object storage, a subfolder for each, from which models are "
            "served.",
        ),
    ] = Path("~/.cache/ingrain/repositories")
    repository_cache_bytes: Annotated[
        NotNegative,
        setting(
            "INGRAIN_REPOSITORY_CACHE_BYTES",
            "Maximum bytes of models in such a local copy: for a further one, those that are not loaded are removed "
            "from it, the one used longest ago first. Loaded models stay. 0: no limit.",
        ),
    ] = 0
    bundle: Annotated[
        Path | None,
        setting(
            "INGRAIN_BUNDLE",
            "File of `ingrain bundle` whose models are verified, put into the repository and loaded at start "
            "(docs/bundle.md).",
        ),
    ] = None
    bundle_public_key: Annotated[
        Path | None,
        setting(
            "INGRAIN_BUNDLE_PUBLIC_KEY",
            "PEM file with the Ed25519 public key of the only signer whose bundles INGRAIN_BUNDLE accepts. Not set: "
            "signatures are not checked, checksums always are.",
        ),
    ] = None
    local_models_dir: Annotated[
        Path | None, setting("INGRAIN_LOCAL_MODELS_DIR", "Folder whose subfolders are models; searched before the hub.")
    ] = None
    hub_offline: Annotated[bool, setting("HF_HUB_OFFLINE", "Only use models in the local cache of the hub.")] = False
    offline: Annotated[
        bool,
        setting(
            "INGRAIN_OFFLINE",
            "Open no connection of the server's own accord or for a request: no hub (as with HF_HUB_OFFLINE), no URLs "
            "of images and custom models, no object storage. Only to a Triton at TRITON_GRPC_URL.",
        ),
    ] = False
