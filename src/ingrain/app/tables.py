"""Tables of engines and dialects, built-in ones and those of extensions."""

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
    """Engines and dialects of the server; the defaults are the built-in ones.

    Attributes:
        engines: Engines by name, in the order in which ``auto`` tries them.
        dialects: APIs that the server offers; the first one is Ingrain's own.
    """

    engines: Mapping[str, EngineSpec] = field(default_factory=lambda: ENGINES)
    dialects: Sequence[Dialect] = DIALECTS


def load_tables(extensions: Sequence[str]) -> Tables:
    """Return the built-in tables together with the entries of extensions.

    Args:
        extensions: Names of modules. Each may have these attributes: ``ENGINES``, engines by name; ``DIALECTS``, more
            APIs; ``ROUTES``, more routes of Ingrain's own API.

    Raises:
        SettingsError: A module cannot be imported, or adds an engine or a route that exists already.
    """
    tables = Tables()
    for name in extensions:
        module = _import(name)
        engines: Mapping[str, EngineSpec] = getattr(module, "ENGINES", {})
        if taken := [engine for engine in engines if engine in tables.engines]:
            raise SettingsError(
                f"INGRAIN_EXTENSIONS: {name!r} adds an engine {taken[0]!r}, but an engine of that name exists already.",
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
            f"INGRAIN_EXTENSIONS names {name!r}, which cannot be imported; the log says why. It must be an importable "
            "module, for example one of an installed package.",
            param="INGRAIN_EXTENSIONS",
        ) from error


def _check_paths(name: str, dialects: Sequence[Dialect]) -> None:
    seen: set[tuple[str, str, str]] = set()
    for route in (route for dialect in dialects for route in dialect.routes):
        key = route.plane, route.method, route.path
        if key in seen:
            raise SettingsError(
                f"INGRAIN_EXTENSIONS: {name!r} adds {route.method} {route.path}, but that route exists already.",
                param="INGRAIN_EXTENSIONS",
            )
        seen.add(key)
