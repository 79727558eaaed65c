"""Decoding of request bodies into their types."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec

from ingrain.errors import InvalidRequestError

R = TypeVar("R", bound=msgspec.Struct)

_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_AT_BYTE = re.compile(r"\(byte (\d+)\)$")
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_AT = " - at `$"
_UNKNOWN = "Object contains unknown field `"
_OUT_OF_BOUNDS = re.compile(r"Expected (int|float) [<>]=? .*")
_MOST_DIGITS = 30
_MOST_CHARS = 200  # of a message, which may quote a value of the body


class DecodedBody(bytes):
    """The body of a request that was decoded beforehand, in a thread; as bytes it is empty.

    Attributes:
        value: The decoded body.
    """

    value: Any


def decode(body: bytes, kind: type[R], *, is_whole: bool = True) -> R:
    """Decode a JSON body with field names in camelCase or snake_case.

    Decoding stops at the first field that is unknown or has a wrong type, and builds no value of an unknown field. So
    a body that is refused costs no more than one that is accepted.

    Args:
        body: The body.
        kind: Type of the body. Unknown fields are ignored unless it has ``forbid_unknown_fields``.
        is_whole: Whether bytes have the places that they had in the request, so that an error may tell one.

    Raises:
        InvalidRequestError: The body is not JSON, or a field is unknown, missing, or of a wrong type or value.
    """
    if type(body) is DecodedBody:
        return cast(R, body.value)
    try:
        try:
            decoder: msgspec.json.Decoder[R] = _strict_decoder(kind)
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            if _AT in str(error):
                raise
            # A field is missing or unknown: perhaps it is there in another spelling.
            return _merge(msgspec.json.decode(body, type=_any_spelling(kind)), kind)
    except msgspec.ValidationError as error:
        raise _explain(error, kind, body) from error
    except _NOT_JSON as error:
        fault = _json_fault(body, error, is_whole=is_whole)
        raise InvalidRequestError(
            f"The body {fault}. Send a JSON object, with names and texts in double quotes, in UTF-8 as "
            "application/json."
        ) from error


def decode_form(fields: Mapping[str, object], kind: type[R]) -> R:
    """Build a request body from the fields of a form, whose values are strings.

    Raises:
        InvalidRequestError: As in ``decode``.
    """
    try:
        return _merge(msgspec.convert(fields, _any_spelling(kind), strict=False), kind)
    except msgspec.ValidationError as error:
        raise _explain(error, kind) from error


def _merge(given: msgspec.Struct, kind: type[R]) -> R:
    """Build the body from a value of ``_any_spelling``.

    Raises:
        InvalidRequestError: A field is given in two spellings, or is missing.
    """
    values: dict[str, object] = {}
    for spelling, name in _names(kind).items():
        value = getattr(given, spelling)
        if value is msgspec.UNSET:
            continue
        if name in values:
            raise InvalidRequestError(f"Field {name!r} is given twice.", param=spelling)
        values[name] = value
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    missing = [name for name, field in fields.items() if field.required and name not in values]
    if missing:
        raise InvalidRequestError(f"Field {missing[0]!r} is missing.", param=missing[0])
    return kind(**{fields[name].name: value for name, value in values.items()})


def _json_fault(body: bytes, error: Exception, *, is_whole: bool) -> str:
    """Return what is wrong with a body that is no JSON, and where, as the end of a sentence; never any of its text."""
    if not body.strip():
        return "is empty"
    if body.startswith(_BYTE_ORDER_MARKS):
        return "is not valid JSON: it begins with a byte order mark"
    if isinstance(error, RecursionError):
        return "is not valid JSON: it is nested too deeply"
    try:
        body.decode()
    except UnicodeDecodeError as not_text:
        return "is not UTF-8" + (f" at byte {not_text.start}" if is_whole else "")
    if not is_whole:
        return "is not valid JSON"
    found = _AT_BYTE.search(str(error))
    return "is not valid JSON: " + (f"look at byte {found[1]}" if found else f"it ends too soon, at byte {len(body)}")


def _explain(error: msgspec.ValidationError, kind: type[msgspec.Struct], body: bytes = b"") -> InvalidRequestError:
    """Return an error that names the wrong field, and its value if that is a number out of bounds.

    msgspec documents where its message holds the path.
    """
    message = str(error)
    what, at, path = message.rpartition(_AT)
    if not at and message.startswith(_UNKNOWN):
        field, known = message[len(_UNKNOWN) : -1][:100], list(dict.fromkeys(_names(kind).values()))
        return InvalidRequestError(
            f"Unknown field {field!r}. The fields are {', '.join(known)}.", param=field, facts={"knownFields": known}
        )
    if not at:
        return InvalidRequestError("The body must be a JSON object.")
    spelling, *rest = re.split(r"(?=[.\[])", path.removeprefix(".").removesuffix("`"), maxsplit=1)
    name = _names(kind).get(spelling, spelling)
    allowed = _choices(kind).get(name)
    hint = f" Allowed: {', '.join(map(str, allowed))}." if allowed else ""
    what = what[:_MOST_CHARS].replace("`", "")
    if _OUT_OF_BOUNDS.fullmatch(what) and not rest:
        what += _got(body, spelling)
    path = name + "".join(rest)
    return InvalidRequestError(f"Field {path!r} is not valid: {what[:1].lower()}{what[1:]}.{hint}", param=path)


def _got(body: bytes, field: str) -> str:
    """Return words for the value of a field; empty if the rest of the body is not JSON."""
    try:
        value = bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get(field, b""))
    except _NOT_JSON:
        return ""
    return f", got {value[:_MOST_DIGITS].decode()}" if value else ""


@cache
def _choices(kind: type[msgspec.Struct]) -> dict[str, tuple[object, ...]]:
    """Return the literal values of each field by wire name; empty for a field that is no enumeration."""
    return {field.encode_name: _literals(field.type) for field in msgspec.structs.fields(kind)}


def _literals(kind: Any) -> tuple[object, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(dict.fromkeys(value for part in get_args(kind) for value in _literals(part)))


@cache
def _strict_decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    """Return a decoder that refuses unknown fields: such a field may be a known one in the other spelling."""
    if kind.__struct_config__.forbid_unknown_fields:
        return msgspec.json.Decoder(kind)
    strict = type(f"Strict{kind.__name__}", (kind,), {"__doc__": kind.__doc__}, frozen=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(strict)


@cache
def _any_spelling(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return a type with an optional field for each spelling of each field; it refuses unknown fields like ``kind``."""
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    return msgspec.defstruct(
        f"AnySpelling{kind.__name__}",
        [
            (spelling, Union[types[name], msgspec.UnsetType], msgspec.UNSET)  # noqa: UP007 - the type is a value
            for spelling, name in _names(kind).items()
        ],
        kw_only=True,
        forbid_unknown_fields=kind.__struct_config__.forbid_unknown_fields,
    )


@cache
def _names(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Map each accepted spelling of a field to its wire name."""
    names: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        first, *others = field.name.split("_")
        camel = first + "".join(map(str.capitalize, others))
        names |= dict.fromkeys((field.encode_name, field.name, camel), field.encode_name)
    return names
