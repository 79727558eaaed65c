"""Shared by both transports: httpx's arguments, and reading a response."""

from __future__ import annotations

import logging
from typing import TypeVar

import httpx

from ingrain.client.call import Call, Reply
from ingrain.client.failures import Failure, error_of_anothers, error_of_reply
from ingrain.client.options import Options
from ingrain.client.retry import Retries
from ingrain.errors import UnexpectedAnswerError

T = TypeVar("T")

# More than one call uses: several calls of one client may run at the same time.
_CONNECTIONS = 100
# Requests of one call that are sent or answered before the first result is yielded, per concurrent request. Bounds the
# memory for responses that wait for an earlier one.
_WINDOW = 4

log = logging.getLogger("ingrain.client")


def pool_limits() -> httpx.Limits:
    """Return the limits of a plane's connection pool."""
    return httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=30.0)


def window_of(options: Options) -> int:
    """Return how many requests of one call are sent or answered before the first result is yielded."""
    return _WINDOW * options.concurrency


def timeout_of(call: Call[object], options: Options) -> httpx.Timeout:
    """Return httpx's timeouts: the call's timeout for the response, none for a connection from the pool."""
    answer_s = call.timeout_s or options.timeout_s
    return httpx.Timeout(answer_s, connect=min(options.connect_timeout_s, answer_s), pool=None)


def retries_of(call: Call[object], options: Options) -> Retries:
    """Return the count of a call's failures, with the client's policy and the call's own number of retries."""
    return Retries(options.retry, repeatable=call.repeatable, most=call.retries)


def url_of(call: Call[object], options: Options) -> str:
    """Return the URL of a request."""
    return options.planes[call.plane].url + call.path


def read(call: Call[T], response: httpx.Response, options: Options, *, is_alone: bool) -> T | Failure:
    """Return the result of a response, or the failure.

    Args:
        call: The request.
        response: The response.
        options: The client's options.
        is_alone: True if the request was the only one on its connection.
    """
    reply = Reply(status=response.status_code, headers=response.headers, content=response.content)
    if log.isEnabledFor(logging.DEBUG):
        seconds = response.elapsed.total_seconds()
        log.debug("%s %s %d %.1f ms %s", call.method, call.path, reply.status, 1e3 * seconds, call.request_id)
    # A request that the server refuses before reading its headers gets another id; only status 200 has vectors.
    is_ours = reply.headers.get("x-request-id", call.request_id) == call.request_id
    if options.match_request_ids and not is_ours and (reply.status == 200 or not is_alone):
        return error_of_anothers(call, options.planes[call.plane].url)
    if reply.status != call.success:
        return Failure(error_of_reply(call, reply))
    try:
        return call.read(reply)
    except UnexpectedAnswerError as error:
        error.request_id = call.request_id
        return Failure(error)
