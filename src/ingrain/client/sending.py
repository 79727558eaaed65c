"""What both transports share: httpx's arguments, and how an answer is read."""

from __future__ import annotations

import logging
from typing import TypeVar

import httpx

from ingrain.client.call import Call, Reply
from ingrain.client.failures import Failure, error_of_anothers, error_of_reply
from ingrain.client.options import Options
from ingrain.errors import UnexpectedAnswerError

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10.0
# More than the requests of one call: several calls of one client may be in progress.
_CONNECTIONS = 100
# Requests of one call that may be answered, but wait for an earlier one's answer; it bounds the memory they take.
_WINDOW = 4

log = logging.getLogger("ingrain.client")


def pool_limits() -> httpx.Limits:
    """Return how many connections a plane's pool holds."""
    return httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=30.0)


def window_of(options: Options) -> int:
    """Return how many requests of one call are sent or answered before the first of them is handed on."""
    return _WINDOW * options.concurrency


def timeout_of(call: Call[object], options: Options) -> httpx.Timeout:
    """Return httpx's time-outs: the answer as long as it may take, a place in the pool for ever."""
    answer_s = call.timeout_s or options.timeout_s
    return httpx.Timeout(answer_s, connect=min(_CONNECT_TIMEOUT_S, answer_s), pool=None)


def url_of(call: Call[object], options: Options) -> str:
    """Return where a request goes."""
    return options.planes[call.plane].url + call.path


def read(call: Call[T], response: httpx.Response, options: Options, *, is_alone: bool) -> T | Failure:
    """Return what an answer holds, or what error it is.

    Args:
        call: The request.
        response: What came.
        options: Of the client.
        is_alone: True where nothing else went over this connection.
    """
    reply = Reply(status=response.status_code, headers=response.headers, content=response.content)
    if log.isEnabledFor(logging.DEBUG):
        seconds = response.elapsed.total_seconds()
        log.debug("%s %s %d %.1f ms %s", call.method, call.path, reply.status, 1e3 * seconds, call.request_id)
    # What is refused before its headers are read has no id of ours; no vectors are in it either.
    is_ours = reply.headers.get("x-request-id", call.request_id) == call.request_id
    if options.match_request_ids and not is_ours and (reply.status == 200 or not is_alone):
        return error_of_anothers(call, options.planes[call.plane].url)
    if reply.status != 200:
        return Failure(error_of_reply(call, reply))
    try:
        return call.read(reply)
    except UnexpectedAnswerError as error:
        error.request_id = call.request_id
        return Failure(error)
