"""Encodes and decodes the HTTP/2 frames (RFC 9113) and headers (RFC 7541) of a client for unary gRPC calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Defaults of the protocol, until the server changes them.
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
LARGEST_WINDOW = 2**31 - 1
LAST_STREAM = 2**31 - 1

_HEAD = 9
# Largest frame to accept: large enough that large responses have few frames; it bounds the buffer.
_LARGEST_FRAME = 1 << 20
_LONGEST_HEADERS = 1 << 16

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
_PADDED = 0x8
_PRIORITY = 0x20


class Kind(IntEnum):
    """Frame types."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """Connection settings."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


class Http2Error(Exception):
    """The server sent invalid HTTP/2, or a feature that this client has disabled."""


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return frame_head(kind, flags, stream, len(payload)) + payload


def frame_head(kind: Kind, flags: int, stream: int, length: int) -> bytes:
    """Return the frame header for a payload of ``length`` bytes."""
    return (length << 48 | kind << 40 | flags << 32 | stream).to_bytes(_HEAD, "big")


def greeting() -> bytes:
    """Return the client's connection preface with its settings.

    The header table is disabled, so that equal headers have equal bytes. The flow-control windows are maximal, so that
    they never delay a response.
    """
    settings = {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.ENABLE_PUSH: 0,
        Setting.INITIAL_WINDOW_SIZE: LARGEST_WINDOW,
        Setting.MAX_FRAME_SIZE: _LARGEST_FRAME,
    }
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in settings.items())
    return PREFACE + frame(Kind.SETTINGS, 0, 0, payload) + window_update(LARGEST_WINDOW - DEFAULT_WINDOW)


def window_update(increment: int) -> bytes:
    """Return a frame that enlarges the server's flow-control window of the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, 0, increment.to_bytes(4, "big"))


def number(payload: bytes, start: int = 0) -> int:
    """Return the four bytes at ``start`` as a number, without the reserved highest bit.

    Raises:
        Http2Error: The payload is too short.
    """
    if len(payload) < start + 4:
        raise Http2Error("a frame is too short")
    return int.from_bytes(payload[start : start + 4], "big") & 0x7FFF_FFFF


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield each setting's id and value.

    Raises:
        Http2Error: The payload's length is not a multiple of six.
    """
    if len(payload) % 6:
        raise Http2Error("the length of a SETTINGS frame is not a multiple of six")
    for start in range(0, len(payload), 6):
        yield int.from_bytes(payload[start : start + 2], "big"), int.from_bytes(payload[start + 2 : start + 6], "big")


def encode_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Return a header block that does not use the server's header table, so that it can be sent repeatedly."""
    block: bytes = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)
    return block


@lru_cache(maxsize=64)
def decode_headers(block: bytes) -> dict[str, str]:
    """Return a block's headers. The result can be cached, because the header table is disabled.

    Raises:
        Http2Error: The block is malformed, or refers to the header table.
    """
    decoder = hpack.Decoder(_LONGEST_HEADERS)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    try:
        return {str(name, "latin-1"): str(value, "latin-1") for name, value in decoder.decode(block, raw=True)}
    except hpack.HPACKError as error:
        raise Http2Error("headers cannot be decoded") from error


class FrameReader:
    """Splits a byte stream into frames, removes padding, and joins headers with their continuations."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._headers: tuple[int, int, bytes] | None = None

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield ``(kind, flags, stream, payload)`` of each complete frame.

        Raises:
            Http2Error: A frame is malformed, too long or out of order. The reader is unusable afterwards.
        """
        whole: bytes | bytearray = data
        if self._rest:
            self._rest += data
            whole = self._rest
        start, end = 0, len(whole)
        frames = []
        while end - start >= _HEAD:
            head = int.from_bytes(whole[start : start + _HEAD], "big")
            length = head >> 48
            if length > _LARGEST_FRAME:
                raise Http2Error("a frame is too long")
            stop = start + _HEAD + length
            if stop > end:
                break
            frames.append(
                (head >> 40 & 0xFF, head >> 32 & 0xFF, head & 0x7FFF_FFFF, bytes(whole[start + _HEAD : stop]))
            )
            start = stop
        if whole is self._rest:
            del self._rest[:start]
        elif start < end:
            self._rest += data[start:]
        for kind, flags, stream, payload in frames:
            if kind == Kind.DATA and not flags & _PADDED and self._headers is None:
                yield kind, flags, stream, payload
                continue
            yield from self._special(kind, flags, stream, payload)

    def _special(self, kind: int, flags: int, stream: int, payload: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        if (self._headers is not None) != (kind == Kind.CONTINUATION):
            raise Http2Error("another frame between headers and their continuation, or a continuation without headers")
        if kind in (Kind.DATA, Kind.HEADERS) and flags & _PADDED:
            payload = _without_padding(payload)
        if kind == Kind.HEADERS and flags & _PRIORITY:
            payload = payload[5:]
        if kind == Kind.CONTINUATION and self._headers is not None:
            begun, first, block = self._headers
            if stream != begun:
                raise Http2Error("a continuation belongs to another stream")
            kind, payload, flags = Kind.HEADERS, block + payload, first | flags & END_HEADERS
            self._headers = None
        if kind == Kind.HEADERS and not flags & END_HEADERS:
            if len(payload) > _LONGEST_HEADERS:
                raise Http2Error("headers are too long")
            self._headers = stream, flags, payload
            return
        yield kind, flags, stream, payload


def _without_padding(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Http2Error("the padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]
