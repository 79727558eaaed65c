"""Decoding of request bodies into their types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from ingrain.errors import InvalidRequestError

R = TypeVar("R", bound=msgspec.Struct)

_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)


def decode(body: bytes, kind: type[R]) -> R:
    """Decode a JSON body with field names in camelCase or snake_case.

    Raises:
        InvalidRequestError: The body is not JSON, or a field is unknown, missing, or of a wrong type or value.
    """
    return _decode(body, kind, kind, ignore_unknown=False)


def decode_open(body: bytes, kind: type[R]) -> R:
    """Decode a JSON body with field names in snake_case or camelCase, and ignore unknown fields.

    Raises:
        InvalidRequestError: The body is not JSON, or a field is missing or of a wrong type or value.
    """
    strict: type[R] = _strict(kind)
    return _decode(body, kind, strict, ignore_unknown=True)


def _decode(body: bytes, kind: type[R], strict: type[R], *, ignore_unknown: bool) -> R:
    """Decode with ``strict``; if validation fails, decode again to accept both spellings and to explain the error."""
    try:
        try:
            decoder: msgspec.json.Decoder[R] = _decoder(strict)
            return decoder.decode(body)
        except msgspec.ValidationError:
            raw = msgspec.json.decode(body)
    except _NOT_JSON as error:
        raise InvalidRequestError("The body is not valid JSON.") from error
    if not isinstance(raw, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    return _convert(raw, kind, strict=True, ignore_unknown=ignore_unknown)


def decode_form(fields: Mapping[str, object], kind: type[R]) -> R:
    """Build a request body from the fields of a form, whose values are strings.

    Raises:
        InvalidRequestError: As in ``decode``.
    """
    return _convert(fields, kind, strict=False)


def _convert(raw: Mapping[str, object], kind: type[R], *, strict: bool, ignore_unknown: bool = False) -> R:
    names = _names(kind)
    unknown = [field for field in raw if field not in names]
    if unknown and ignore_unknown:
        raw = {field: value for field, value in raw.items() if field in names}
    elif unknown:
        known = list(dict.fromkeys(names.values()))
        raise InvalidRequestError(
            f"Unknown field {unknown[0][:100]!r}. The fields are {', '.join(known)}.",
            param=unknown[0][:100],
            facts={"knownFields": known},
        )
    renamed: dict[str, object] = {}
    for field, value in raw.items():
        if names[field] in renamed:
            raise InvalidRequestError(f"Field {names[field]!r} is given twice.", param=field)
        renamed[names[field]] = value
    missing = [name for name in _required(kind) if name not in renamed]
    if missing:
        raise InvalidRequestError(f"Field {missing[0]!r} is missing.", param=missing[0])
    try:
        return msgspec.convert(renamed, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _explain(error, kind) from error


def _explain(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> InvalidRequestError:
    """Return an error that names the wrong field. msgspec documents where its message holds the path."""
    match = _PATH.match(str(error))
    assert match is not None
    path = (match["path"] or "$").removeprefix("$").removeprefix(".")
    what = match["what"].replace("`", "")
    subject = f"Field {path!r}" if path else "The body"
    allowed = _choices(kind).get(re.split(r"[.\[]", path, maxsplit=1)[0])
    hint = f" Allowed: {', '.join(map(str, allowed))}." if allowed else ""
    return InvalidRequestError(f"{subject} is not valid: {what[:1].lower()}{what[1:]}.{hint}", param=path or None)


@cache
def _choices(kind: type[msgspec.Struct]) -> dict[str, tuple[object, ...]]:
    """Return the literal values of each field by wire name; empty for a field that is no enumeration."""
    return {field.encode_name: _literals(field.type) for field in msgspec.structs.fields(kind)}


def _literals(kind: Any) -> tuple[object, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(dict.fromkeys(value for part in get_args(kind) for value in _literals(part)))


@cache
def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    return msgspec.json.Decoder(kind)


@cache
def _strict(kind: type[R]) -> type[R]:
    """Return a subtype that refuses unknown fields: such a field may be a known one in the other spelling."""
    return type(f"Strict{kind.__name__}", (kind,), {"__doc__": kind.__doc__}, frozen=True, forbid_unknown_fields=True)


@cache
def _required(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind) if field.required)


@cache
def _names(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Map each accepted spelling of a field to its wire name."""
    names: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        first, *others = field.name.split("_")
        camel = first + "".join(map(str.capitalize, others))
        names |= dict.fromkeys((field.encode_name, field.name, camel), field.encode_name)
    return names
