"""Loads the settings from flags and environment variables, and describes each setting."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from ingrain.errors import SettingsError
from ingrain.settings.fields import Settings

_SWITCH = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}

_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInfo:
    """Description of a setting for flag parsers, reference pages and error messages."""

    field: str
    env: str
    flag: str
    description: str
    type: Any
    default: Any
    secret: bool
    switch: str
    shown: tuple[str, ...]

    @property
    def is_switch(self) -> bool:
        """Whether the flag without a value means ``true``."""
        return self.type is bool or bool(self.switch)

    @property
    def shown_default(self) -> str:
        """The default as text; empty if there is none."""
        if self.switch:
            return "false"
        if self.default is None or self.default == ():
            return ""
        if isinstance(self.default, tuple):
            return ",".join(self.default)
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)

    @property
    def choices(self) -> tuple[str, ...]:
        """Allowed values, if the setting is a choice."""
        if self.shown:
            return self.shown
        kinds = (self.type, *get_args(self.type))  # the type may be optional
        return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def describe() -> list[SettingInfo]:
    """Return all settings, in the order of ``Settings``."""
    infos = []
    for field in msgspec.structs.fields(Settings):
        kind, meta = field.type, None
        while get_origin(kind) is Annotated:
            kind, *metas = get_args(kind)
            meta = next((m for m in metas if m.extra), meta)
        assert meta is not None
        assert meta.extra is not None
        infos.append(
            SettingInfo(
                field=field.name,
                env=meta.extra["env"],
                flag="--" + field.name.replace("_", "-"),
                description=meta.description or "",
                type=kind,
                default=field.default,
                secret=meta.extra["secret"],
                switch=meta.extra["switch"],
                shown=meta.extra["shown"],
            )
        )
    return infos


def load_settings(flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings.

    Args:
        flags: Command-line values by field name; None means not given.
        environ: Environment variables; None for those of the process. An empty value means not given.

    Raises:
        SettingsError: A value is invalid; the message names the variable or flag, the value and the allowed values.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    for info, field in zip(describe(), msgspec.structs.fields(Settings), strict=True):
        given, where = (flags or {}).get(info.field), info.flag
        if given is None:
            given, where = environ.get(info.env, "").strip() or None, info.env
        if given is not None:
            values[info.field] = _convert(given, info, field.type, where)
    return Settings(**values)  # type: ignore[arg-type]


def _convert(given: object, info: SettingInfo, declared: object, where: str) -> object:
    value: object = given
    if isinstance(given, str):
        plain = _SWITCH.get(given.lower(), given.lower())
        if info.switch and plain in ("true", "false"):
            value = [info.switch] if plain == "true" else []
        elif get_origin(info.type) is tuple:
            value = [part.strip() for part in given.split(",") if part.strip()]
            if given and not value:  # such as keys from variables that are not set, which must not open the server
                raise SettingsError(f"{where} is {_shown(given, info)}, which has no entry.", param=where)
        elif info.type is bool:
            value = _SWITCH.get(given.lower(), given)
    if Path in (info.type, *get_args(info.type)):
        return Path(str(value)).expanduser()
    try:
        return msgspec.convert(value, declared, strict=False)
    except msgspec.ValidationError as error:
        allowed = f"one of {', '.join(info.choices)}" if info.choices else _allowed(error)
        if info.switch:
            allowed = "true, false, or repositories separated by commas, each 'owner/name' or 'owner/name@<commit>'"
        raise SettingsError(
            f"{where} is {_shown(given, info)}, which cannot be used: {allowed}.", param=where
        ) from error


def _allowed(error: msgspec.ValidationError) -> str:
    """Return what a value must be, in words that are no Python."""
    text = str(error).lower().partition(" - at")[0].partition(", got")[0].replace(" | null", "")
    for kind, words in _KINDS.items():
        text = text.replace(f"`{kind}`", words)
    return text


def _shown(given: object, info: SettingInfo) -> str:
    return "(hidden)" if info.secret else repr(given)
