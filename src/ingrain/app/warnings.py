"""What is said at the start about settings that are probably not meant so."""

from __future__ import annotations

import logging

from ingrain.app.sites import warn_if_open
from ingrain.settings import Settings, unknown_variables

log = logging.getLogger("ingrain.server")


def warn(settings: Settings) -> None:
    """Log a warning for each setting, or variable that is none, which probably does not do what the operator wants."""
    for unknown in unknown_variables():
        log.warning("%s", unknown)
    warn_if_open(settings)
    folder = settings.local_models_dir
    if folder is not None and not folder.is_dir():
        log.warning(
            "INGRAIN_LOCAL_MODELS_DIR is %s, which is no folder: models are looked for on the hub alone. Create "
            "it, or correct the setting.",
            folder,
        )
