"""The tables that the server is put together from: what can be added to it without a change to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ingrain.engine.table import ENGINES, EngineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The built-in tables, or these and more.

    Attributes:
        engines: Engines by name, in the order in which ``auto`` looks at them.
    """

    engines: Mapping[str, EngineSpec] = field(default_factory=lambda: ENGINES)
