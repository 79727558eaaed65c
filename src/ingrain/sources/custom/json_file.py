"""Reads and checks the side files of a custom model: JSON objects, lists and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ingrain.errors import InvalidRequestError

T = TypeVar("T")

_DEEPEST = 100


def read_object(path: Path, param: str) -> dict[str, Any]:
    """Return a JSON object.

    Args:
        path: The file.
        param: The field whose URL it came from.

    Raises:
        InvalidRequestError: It is something else.
    """
    return _read(path, param, dict[str, Any], "a JSON object")


def read_list(path: Path, param: str) -> list[dict[str, Any]]:
    """Return a JSON list of objects.

    Raises:
        InvalidRequestError: It is something else.
    """
    return _read(path, param, list[dict[str, Any]], "a JSON list of objects")


def check_object(path: Path, param: str, *, member: str | None = None) -> None:
    """Refuse what is no JSON object, or lacks a member; values are not built in memory.

    Raises:
        InvalidRequestError: As said.
    """
    found = _read(path, param, dict[str, msgspec.Raw], "a JSON object")
    if member is not None and member not in found:
        raise InvalidRequestError(f"{param} leads to a JSON object without {member!r}.", param=param)


def check_text(path: Path, param: str) -> None:
    """Refuse what is no UTF-8 text of at least one line.

    Raises:
        InvalidRequestError: As said.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{param} leads to what is no UTF-8 text.", param=param) from error
    if not text.strip() or "\0" in text:
        raise InvalidRequestError(f"{param} leads to what is no list of tokens, one a line.", param=param)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, and its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))


def _read(path: Path, param: str, kind: type[T], what: str) -> T:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{param} leads to what is not {what}.", param=param) from error
    if not _is_shallow(found, _DEEPEST):
        raise InvalidRequestError(f"{param} leads to JSON of more than {_DEEPEST} levels.", param=param)
    return found


def _is_shallow(value: object, levels: int) -> bool:
    """Tell whether lists and objects lie in each other no deeper than that; what reads them after us may recurse."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in inner)
