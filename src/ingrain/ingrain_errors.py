"""The errors of the first generation of clients: every error of Ingrain is an ``IngrainWebException``."""

from __future__ import annotations

from ingrain.client.first_generation import error_factory as error_factory
from ingrain.errors import IngrainWebException as IngrainWebException

__all__ = ["IngrainWebException", "error_factory"]
