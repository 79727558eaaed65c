"""The module from which programs for the first generation of clients import ``Model``."""

from __future__ import annotations

from ingrain.client.sync.model import Model as Model

__all__ = ["Model"]
