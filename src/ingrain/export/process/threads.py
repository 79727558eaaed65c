"""How many threads an export may use."""

from __future__ import annotations

import os

from ingrain.errors import SettingsError

VARIABLE = "INGRAIN_EXPORT_THREADS"


def export_threads() -> int:
    """Return the threads that torch and ONNX Runtime may use while exporting; 0 stands for all cores.

    Raises:
        SettingsError: The variable holds no whole number of at least 0.
    """
    value = os.environ.get(VARIABLE, "0")
    if not value.isdecimal():
        raise SettingsError(f"{VARIABLE}={value!r} must be a whole number; 0 or nothing means all cores.")
    return int(value)
