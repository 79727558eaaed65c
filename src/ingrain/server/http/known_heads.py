"""Heads of requests that have been parsed before: the same bytes mean the same request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingrain.server.http.incoming import IncomingRequest, announced_length
from ingrain.server.http.message import Request

_END = b"\r\n\r\n"
_LONGEST = 2048
_MOST = 512
_OTHER_FRAMING = (b"transfer-encoding", b"expect", b"upgrade")


@dataclass(frozen=True, slots=True)
class _Known:
    """What the parser made of a head."""

    method: str
    path: str
    query_string: str
    headers: Mapping[bytes, bytes]
    body_length: int


class KnownHeads:
    """Remembers what the parser made of whole requests that came in one piece.

    A caller sends the same head again and again. The parser needs a dozen calls into Python for it, this one look-up;
    and what it says is what the parser said of these very bytes, read from the same state.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, _Known] = {}

    def find(self, data: bytes) -> Request | None:
        """Return the request that these bytes are, whole and nothing but it; None where that is not known.

        Args:
            data: What came while the parser stood between two requests.
        """
        end = data.find(_END, 0, _LONGEST)
        known = self._heads.get(data[:end]) if end >= 0 else None
        if known is None or len(data) != end + len(_END) + known.body_length:
            return None
        return Request(known.method, known.path, known.query_string, known.headers, data[end + len(_END) :])

    def learn(self, data: bytes, message: IncomingRequest) -> None:
        """Remember a head, where it is one of the plain kind: HTTP/1.1, a body of known length, the connection kept.

        Args:
            data: What came while the parser stood between two requests.
            message: What the parser made of its beginning, body included.
        """
        request, end = message.request, data.find(_END, 0, _LONGEST)
        length = announced_length(request)
        if data.count(b"\n", 0, end) != data.count(b"\r\n", 0, end):
            return  # where the parser lets a line end otherwise, this is not where the head ends
        if end < 0 or len(data) != end + len(_END) + length or message.size != length:
            return
        if not message.keep_alive or message.is_http_1_0 or any(name in request.headers for name in _OTHER_FRAMING):
            return
        if len(self._heads) >= _MOST:
            self._heads.clear()  # heads that never come again must not keep out those that do
        self._heads[data[:end]] = _Known(request.method, request.path, request.query_string, request.headers, length)
