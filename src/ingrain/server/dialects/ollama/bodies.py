"""Decodes the bodies of Ollama's requests."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ingrain.errors import InvalidRequestError
from ingrain.server.http.message import Request
from ingrain.server.plane.bodies import decode

R = TypeVar("R", bound=msgspec.Struct)


def decode_body(request: Request, kind: type[R]) -> R:
    """Return the body of a request.

    Raises:
        InvalidRequestError: There is none, or as in ``decode``.
    """
    if type(request.body) is bytes and not request.body:
        raise InvalidRequestError("missing request body")
    return decode(request.body, kind)
