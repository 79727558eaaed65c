"""Tells apart requests for routes of several dialects that have the same method and path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Union

import msgspec

from ingrain.errors import IngrainError
from ingrain.server.http.message import Request
from ingrain.server.plane.route import Dialect, Route


class RouteChoice:
    """Chooses the route that a request is for, by the fields of its body and by its headers.

    Args:
        routes: The routes, in the order of their dialects. A request that no ``told_by`` matches is for the first one.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._fields: list[tuple[str, int]] = []
        self._headers: list[tuple[bytes, int]] = []
        for number, route in enumerate(routes):
            for name in route.told_by:
                if "-" in name:
                    self._headers.append((name.encode(), number))
                else:
                    self._fields.append((name, number))
        optional: Any = Union[msgspec.Raw, msgspec.UnsetType]  # noqa: UP007 - the type is a value
        names = dict.fromkeys(name for name, _ in self._fields)
        kind = msgspec.defstruct("FieldsOfSharedPath", [(name, optional, msgspec.UNSET) for name in names])
        self._decoder = msgspec.json.Decoder(kind)

    def number(self, request: Request) -> int:
        """Return the index of the route. Reads the body, but builds nothing of it; a large one takes long."""
        for header, number in self._headers:
            if header in request.headers:
                return number
        if not self._fields:
            return 0
        try:
            given = self._decoder.decode(request.body)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
            return 0  # a form, or its handler refuses the body
        for name, number in self._fields:
            if getattr(given, name) is not msgspec.UNSET:
                return number
        return 0


def speaking_all(dialects: Sequence[Dialect]) -> Dialect:
    """Return the first dialect with errors that have the fields of all, for requests that cannot be told apart yet."""
    if len(dialects) == 1:
        return dialects[0]

    def error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
        merged: dict[str, object] = {}
        for dialect in reversed(dialects):  # so that the first one's value of a field is the one that stays
            merged |= dialect.error_body(error, status, request_id)
        return merged

    return replace(dialects[0], error_body=error_body)
