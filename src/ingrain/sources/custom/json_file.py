"""Reads and checks the side files of a custom model: JSON objects, JSON lists and text."""

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
        param: The field with the file's URL.

    Raises:
        InvalidRequestError: The file is not a JSON object.
    """
    return _read(path, param, dict[str, Any], "a JSON object")


def read_list(path: Path, param: str) -> list[dict[str, Any]]:
    """Return a JSON list of objects.

    Raises:
        InvalidRequestError: The file is not a JSON list of objects.
    """
    return _read(path, param, list[dict[str, Any]], "a JSON list of objects")


def check_object(path: Path, param: str, *, member: str | None = None) -> None:
    """Check that a file is a JSON object and has a member, without decoding the values.

    Raises:
        InvalidRequestError: The file is not a JSON object, or the member is missing.
    """
    found = _read(path, param, dict[str, msgspec.Raw], "a JSON object")
    if member is not None and member not in found:
        raise InvalidRequestError(f"The file at {param} is a JSON object without {member!r}.", param=param)


def check_text(path: Path, param: str) -> None:
    """Check that a file is UTF-8 text of at least one line.

    Raises:
        InvalidRequestError: The file is something else.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"The file at {param} is not UTF-8 text.", param=param) from error
    if not text.strip() or "\0" in text:
        raise InvalidRequestError(f"The file at {param} is not a list of tokens, one per line.", param=param)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file; create its folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))


def _read(path: Path, param: str, kind: type[T], what: str) -> T:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"The file at {param} is not {what}.", param=param) from error
    if not _is_shallow(found, _DEEPEST):
        raise InvalidRequestError(f"The file at {param} is JSON of more than {_DEEPEST} levels.", param=param)
    return found


def _is_shallow(value: object, levels: int) -> bool:
    """Return True if lists and objects are nested at most ``levels`` deep; later readers may recurse."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in inner)
