"""Reads the number of threads that an export may use."""

from __future__ import annotations

import os

from ingrain.errors import SettingsError

VARIABLE = "INGRAIN_EXPORT_THREADS"


def export_threads() -> int:
    """Return the number of threads for torch and ONNX Runtime during an export; 0 means all cores.

    Raises:
        SettingsError: The environment variable is not a whole number of at least 0.
    """
    value = os.environ.get(VARIABLE, "0")
    if not value.isdecimal():
        raise SettingsError(f"{VARIABLE}={value!r} must be a whole number; 0 or unset means all cores.")
    return int(value)
