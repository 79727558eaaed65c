"""The module from which programs for the first generation of clients import ``PyCURLEngine``."""

from __future__ import annotations

from ingrain.client.first_generation import PyCURLEngine as PyCURLEngine

__all__ = ["PyCURLEngine"]
