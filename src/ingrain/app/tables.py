"""The tables that the server is put together from, and how an extension adds to them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

from ingrain.engine.table import ENGINES, EngineSpec
from ingrain.errors import SettingsError
from ingrain.server.dialects.table import DIALECTS
from ingrain.server.plane.route import Dialect

log = logging.getLogger("ingrain.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The built-in tables, or these and more.

    Attributes:
        engines: Engines by name, in the order in which ``auto`` looks at them.
        dialects: The APIs that are served; the first one is Ingrain's own.
    """

    engines: Mapping[str, EngineSpec] = field(default_factory=lambda: ENGINES)
    dialects: Sequence[Dialect] = DIALECTS


def load_tables(extensions: Sequence[str]) -> Tables:
    """Return the built-in tables with what extensions add to them.

    Args:
        extensions: Names of modules, of which these attributes are read where there are any: ``ENGINES``, by name;
            ``DIALECTS``, further APIs; ``ROUTES``, further routes of Ingrain's own API.

    Raises:
        SettingsError: A module cannot be imported, or adds a name or a path that there is already.
    """
    tables = Tables()
    for name in extensions:
        module = _import(name)
        engines: Mapping[str, EngineSpec] = getattr(module, "ENGINES", {})
        if taken := [engine for engine in engines if engine in tables.engines]:
            raise SettingsError(
                f"INGRAIN_EXTENSIONS: {name!r} adds an engine {taken[0]!r}; there is one of that name already.",
                param="INGRAIN_EXTENSIONS",
            )
        native, *others = tables.dialects
        native = replace(native, routes=(*native.routes, *getattr(module, "ROUTES", ())))
        dialects = (native, *others, *getattr(module, "DIALECTS", ()))
        _check_paths(name, dialects)
        tables = Tables(engines={**tables.engines, **engines}, dialects=dialects)
    return tables


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        log.warning("Extension %s cannot be imported: %s", name, error)
        raise SettingsError(
            f"INGRAIN_EXTENSIONS names {name!r}, which cannot be imported; the log says why. It must be a module that "
            "this Python finds, such as one of an installed package.",
            param="INGRAIN_EXTENSIONS",
        ) from error


def _check_paths(name: str, dialects: Sequence[Dialect]) -> None:
    seen: set[tuple[str, str, str]] = set()
    for route in (route for dialect in dialects for route in dialect.routes):
        key = route.plane, route.method, route.path
        if key in seen:
            raise SettingsError(
                f"INGRAIN_EXTENSIONS: {name!r} adds {route.method} {route.path}; there is such a route already.",
                param="INGRAIN_EXTENSIONS",
            )
        seen.add(key)
