"""Joins, decompresses and decodes a large or compressed body in a thread, before its handler is called."""

from __future__ import annotations

import asyncio
import re
import uuid
import zlib
from concurrent.futures import Executor
from typing import Any

import msgspec
import numpy as np

from ingrain.errors import InvalidRequestError, TooLargeError, UnsupportedMediaError
from ingrain.server.http.application import BodyLimit
from ingrain.server.http.message import Request
from ingrain.server.http.refusals import body_too_large
from ingrain.server.plane.bodies import DecodedBody, decode
from ingrain.server.plane.route import Route

LARGE_BODY = 131_072
"""Bodies of more bytes are decoded in a thread."""

_GZIP = 31  # zlib's number for the gzip format with the largest window
_WINDOW = 1_048_576
_ESCAPES = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_MOST_NUMBERS = 2_000_000
_LONG_STRING = 131_072
# Unknown outside this process, and longer than any string whose length a field limits.
_MARK = f"{uuid.uuid4().hex}{'-' * 10_000}"
_PLACEHOLDER = "{}"  # which a template must hold
_QUOTED = 200
_SPACE = 0x20  # the first character that is no control character
_VALUES_PER_ITEM = 4
_OTHER_VALUES = 1_000


def needs_preparation(request: Request) -> bool:
    """Return whether ``prepare`` must be called before the handler."""
    return bool(request.pieces) or len(request.body) > LARGE_BODY or b"content-encoding" in request.headers


def is_form(request: Request) -> bool:
    """Return whether the body is a form with files, which ``uploads`` reads."""
    return request.headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")


async def join_body(executor: Executor, request: Request) -> None:
    """Set the body of a request to its joined pieces."""
    if request.pieces:
        request.body = await asyncio.get_running_loop().run_in_executor(executor, _join, request)


def _join(request: Request) -> bytes:
    pieces, request.pieces = request.pieces, ()
    return b"".join(pieces)


async def decompressed(executor: Executor, request: Request, limit: BodyLimit) -> bytes:
    """Return the body without its ``Content-Encoding``.

    Raises:
        UnsupportedMediaError: The encoding is not gzip.
        InvalidRequestError: The body is not in gzip format.
        TooLargeError: The decompressed body is over the limit.
    """
    codings = [coding.strip().lower() for coding in request.header("content-encoding").split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return request.body
    if codings not in (["gzip"], ["x-gzip"]):
        raise UnsupportedMediaError(
            f"Content-Encoding is {', '.join(codings)[:100]!r}; this server takes gzip, or bodies without an encoding.",
            param="Content-Encoding",
        )
    return await asyncio.get_running_loop().run_in_executor(executor, _gunzip, request.body, limit)


async def decode_in_a_thread(executor: Executor, request: Request, route: Route, most_items: int) -> None:
    """Replace a large JSON body by its decoded value; leave a form, or a body that the route does not take.

    A body with other bytes behind its JSON is left to its handler, too.

    Raises:
        TooLargeError: The body has more values than a request with ``most_items`` items can have.
        InvalidRequestError: As in ``decode``.
    """
    if len(request.body) <= LARGE_BODY or route.request is None or (route.takes_forms and is_form(request)):
        return
    if route.json_length and route.json_length.encode() in request.headers:
        return
    body, request.body = request.body, b""
    request.body = await asyncio.get_running_loop().run_in_executor(executor, _decode, body, route.request, most_items)


def _decode(body: bytes, kind: type, most_items: int) -> DecodedBody:
    check_values(body, most_items)
    decoded, long_strings = DecodedBody(), LongStrings()
    short = long_strings.cut_out(body)
    try:
        decoded.value = long_strings.put_back(decode(short, kind, is_whole=short is body))
    except RecursionError:  # values nest deeper than ``put_back`` can follow, though not deeper than JSON may
        decoded.value = decode(body, kind)
    return decoded


class LongStrings:
    """Takes long strings, such as images in base64, out of JSON before it is decoded, and puts them back afterwards.

    Decoding is one step, during which no other thread runs: 50 ms for 60 MB. Each string is a step of its own instead.
    """

    def __init__(self) -> None:
        self._strings: dict[str, str] = {}

    def cut_out(self, body: bytes) -> bytes:
        """Return the JSON with a short string in the place of each long one without escapes and control characters."""
        kept: list[bytes] = []
        done = at = 0
        while (quote := body.find(b'"', at)) >= 0:
            start = quote + 1
            at = _after_string(body, start)
            if at - start > _LONG_STRING and _is_plain(body, start, at - 1):
                try:
                    text = body[start : at - 1].decode()
                except UnicodeDecodeError:
                    continue  # decoding refuses it
                # The start of the string, because an error may quote it.
                name = f"{text[:_QUOTED]}{_MARK}{len(self._strings)}{_PLACEHOLDER if _PLACEHOLDER in text else ''}"
                self._strings[name] = text
                kept += body[done:start], name.encode()
                done = at - 1
        return b"".join((*kept, body[done:])) if kept else body

    def put_back(self, value: Any) -> Any:
        """Return a decoded value with the long strings in their places."""
        if not self._strings:
            return value
        if isinstance(value, str):
            return self._strings.get(value, value)
        if isinstance(value, list):
            return [self.put_back(item) for item in value]
        if isinstance(value, tuple):
            return tuple([self.put_back(item) for item in value])
        if isinstance(value, dict):
            return {self.put_back(key): self.put_back(item) for key, item in value.items()}
        if isinstance(value, msgspec.Struct):
            fields = value.__struct_fields__
            return msgspec.structs.replace(value, **{name: self.put_back(getattr(value, name)) for name in fields})
        return value


def check_values(body: bytes, most_items: int) -> None:
    """Check, before anything is built, that JSON does not have too many values.

    The search runs in short steps, between which other threads run; decoding is one step, during which none does.

    Raises:
        TooLargeError: It has too many strings, lists and objects, or too many numbers.
    """
    most = _VALUES_PER_ITEM * most_items + _OTHER_VALUES
    values, commas, at = 0, 0, 0
    while at < len(body):
        window = min(at + _WINDOW, len(body))
        quote = body.find(b'"', at, window)
        end = window if quote < 0 else quote
        values += body.count(b"[", at, end) + body.count(b"{", at, end) + (quote >= 0)
        commas += body.count(b",", at, end)
        if values > most or commas > most + _MOST_NUMBERS:
            raise TooLargeError(
                f"The body has more than {most} strings, lists and objects, or more than {_MOST_NUMBERS} numbers; "
                f"a request may have {most_items} items (INGRAIN_MAX_ITEMS).",
                facts={"limit": most_items},
            )
        at = end if quote < 0 else _after_string(body, quote + 1)


def _is_plain(body: bytes, start: int, end: int) -> bool:
    """Return whether a part of JSON has no escapes, and no control characters, which decoding refuses."""
    return body.find(b"\\", start, end) < 0 and np.frombuffer(body, np.uint8, end - start, start).min() >= _SPACE


def _after_string(body: bytes, at: int) -> int:
    """Return the position after the closing quote of a string whose content starts at ``at``."""
    while True:
        quote = body.find(b'"', at)
        if quote < 0:
            return len(body)
        if body.find(b"\\", at, quote) < 0:
            return quote + 1
        match = _ESCAPES.match(body, at, at + _WINDOW)
        assert match is not None  # it matches nothing at least
        if body[match.end() : match.end() + 1] == b'"':
            return match.end() + 1
        if match.end() == at:  # the body ends within an escape
            return len(body)
        at = match.end()


def _gunzip(body: bytes, limit: BodyLimit) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(body, limit.max_bytes + 1)
    except zlib.error as error:
        raise InvalidRequestError("The body is not in gzip format, as its Content-Encoding says.") from error
    if len(plain) > limit.max_bytes:
        raise body_too_large(limit)
    if not stream.eof or stream.unused_data:
        raise InvalidRequestError("The body must be one whole gzip file, as its Content-Encoding says.")
    return plain
