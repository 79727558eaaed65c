"""Caches parsed request heads by their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingrain.server.http.incoming import IncomingRequest, announced_length
from ingrain.server.http.message import Request

_END = b"\r\n\r\n"
_LONGEST = 2048
_MOST = 512
_OTHER_FRAMING = frozenset((b"transfer-encoding", b"expect", b"upgrade"))


@dataclass(frozen=True, slots=True)
class _Known:
    """A parsed head."""

    method: str
    path: str
    query_string: str
    headers: Mapping[bytes, bytes]
    body_length: int


class KnownHeads:
    """Caches the heads of requests that came whole and in one piece.

    A caller sends the same head again and again; parsing it takes a dozen calls from httptools into Python, finding it
    here takes one look-up. The result is the same, as the parser was between two requests both times.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, _Known] = {}

    def find(self, data: bytes) -> Request | None:
        """Return the request if the bytes are exactly one whole request with a known head, else None.

        Args:
            data: Bytes received while the parser was between two requests.
        """
        end = data.find(_END, 0, _LONGEST)
        known = self._heads.get(data[:end]) if end >= 0 else None
        if known is None or len(data) != end + len(_END) + known.body_length:
            return None
        return Request(known.method, known.path, known.query_string, known.headers, data[end + len(_END) :])

    def learn(self, data: bytes, message: IncomingRequest) -> None:
        """Remember a head if it is of the plain kind: HTTP/1.1, keep-alive, a body of known length.

        Args:
            data: Bytes received while the parser was between two requests.
            message: The first request in them, body included.
        """
        request, end = message.request, data.find(_END, 0, _LONGEST)
        length = announced_length(request)
        if data.count(b"\n", 0, end) != data.count(b"\r\n", 0, end):
            return  # the parser accepts other line ends, so the head may end elsewhere
        if end < 0 or len(data) != end + len(_END) + length or message.size != length:
            return
        if not message.keep_alive or message.is_http_1_0 or not _OTHER_FRAMING.isdisjoint(request.headers):
            return
        if len(self._heads) >= _MOST:
            self._heads.clear()  # heads that never come again must not keep out new ones
        self._heads[data[:end]] = _Known(request.method, request.path, request.query_string, request.headers, length)
