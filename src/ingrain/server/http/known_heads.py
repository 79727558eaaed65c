"""Cache of parsed request heads by their bytes."""

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
    """Cache of request heads, for requests that arrive whole and in one piece.

    Clients send the same head again and again. Parsing a head takes a dozen callbacks from httptools into Python; the
    cache takes one look-up. Both give the same result, because the parser is between two requests in both cases.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, _Known] = {}

    def find(self, data: bytes) -> Request | None:
        """Return the request if the bytes are exactly one whole request with a cached head, else None.

        Args:
            data: Bytes received while the parser was between two requests.
        """
        end = data.find(_END, 0, _LONGEST)
        known = self._heads.get(data[:end]) if end >= 0 else None
        if known is None or len(data) != end + len(_END) + known.body_length:
            return None
        return Request(known.method, known.path, known.query_string, known.headers, data[end + len(_END) :])

    def learn(self, data: bytes, message: IncomingRequest) -> None:
        """Cache a head if the request is a plain one: HTTP/1.1, keep-alive, a body of known length.

        Args:
            data: Bytes received while the parser was between two requests.
            message: The first request in these bytes, complete.
        """
        request, end = message.request, data.find(_END, 0, _LONGEST)
        length = announced_length(request)
        if data.count(b"\n", 0, end) != data.count(b"\r\n", 0, end):
            return  # httptools also accepts a bare newline, so the head may end elsewhere
        if end < 0 or len(data) != end + len(_END) + length or message.size != length:
            return
        if not message.may_be_cached or not message.keep_alive or message.is_http_1_0:
            return
        if not _OTHER_FRAMING.isdisjoint(request.headers):
            return
        if len(self._heads) >= _MOST:
            self._heads.clear()  # start over, so that heads seen only once do not fill the cache for ever
        self._heads[data[:end]] = _Known(request.method, request.path, request.query_string, request.headers, length)
