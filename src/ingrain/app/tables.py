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
from ingrain.server.plane.route import Dialect, Route

_ALL, _NONE = "all", "none"
_ALWAYS_ON = ("native", "first-generation")  # Ingrain's own API and its predecessor

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


def load_tables(extensions: Sequence[str], dialects_on: Sequence[str] = (_ALL,)) -> Tables:
    """Return the built-in tables together with the entries of extensions.

    Args:
        extensions: Names of modules. Each may have these attributes: ``ENGINES``, engines by name; ``DIALECTS``, more
            APIs; ``ROUTES``, more routes of Ingrain's own API.
        dialects_on: Names of the dialects to serve beside Ingrain's own, ``all`` or ``none``.

    Raises:
        SettingsError: A module cannot be imported, or adds an engine or a route that exists already; or there is no
            such dialect.
    """
    tables = _with_extensions(extensions)
    return replace(tables, dialects=_chosen(tables.dialects, dialects_on))


def _chosen(dialects: Sequence[Dialect], names: Sequence[str]) -> Sequence[Dialect]:
    names = [name.lower() for name in names]
    known = {dialect.key for dialect in dialects if dialect.key not in _ALWAYS_ON}
    if _NONE in names and len(names) > 1:
        raise SettingsError(f"INGRAIN_DIALECTS names other APIs beside `{_NONE}`.", param="INGRAIN_DIALECTS")
    if unknown := [name for name in names if name not in known | {_ALL, _NONE}]:
        raise SettingsError(
            f"INGRAIN_DIALECTS names {unknown[0][:100]!r}; it must be {_ALL}, {_NONE}, or some of "
            f"{', '.join(sorted(known))}.",
            param="INGRAIN_DIALECTS",
        )
    return [one for one in dialects if one.key in _ALWAYS_ON or one.key in names or _ALL in names]


def _with_extensions(extensions: Sequence[str]) -> Tables:
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
    seen: dict[tuple[str, str, str], Route] = {}
    routes = [(mount + route.path, route) for one in dialects for mount in one.mounts for route in one.routes]
    for path, route in routes:
        key = route.plane, route.method, path
        if key in seen and not route.told_by:
            raise SettingsError(
                f"INGRAIN_EXTENSIONS: {name!r} adds {route.method} {route.path}, but that route exists already.",
                param="INGRAIN_EXTENSIONS",
            )
        first = seen.setdefault(key, route)
        if (first.scope, first.limited) != (route.scope, route.limited):  # checked before the body tells them apart
            raise SettingsError(
                f"INGRAIN_EXTENSIONS: {name!r} adds {route.method} {route.path}, but the route with this path has "
                "another `scope` or `limited`.",
                param="INGRAIN_EXTENSIONS",
            )
