"""Convert responses with an error status, and httpx's exceptions, to Ingrain's error classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from ingrain import errors
from ingrain.client.call import Call, Reply
from ingrain.errors import IngrainError

_BY_STATUS: dict[int, type[IngrainError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    405: errors.MethodNotAllowedError,
    413: errors.TooLargeError,
    429: errors.OverloadError,
    431: errors.HeadersTooLargeError,
    502: errors.EngineUnavailableError,
    503: errors.EngineUnavailableError,
    504: errors.DeadlineExceededError,
}
_ITEM = re.compile(r"\b(?P<field>text|image)\[(?P<number>\d+)\]")
_OUR_FACTS = {"code", "message", "param", "requestId"}
# Exceptions that httpx raises before it sends any part of the request.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt.

    Attributes:
        error: Raised if no retry succeeds.
        was_sent: True if the server may have got the request.
        was_anothers: True if the response belongs to another request.
    """

    error: IngrainError
    was_sent: bool = True
    was_anothers: bool = False


def error_of_reply(call: Call[object], reply: Reply) -> IngrainError:
    """Return the error of a response other than 200: the class of the server's error code, or that of the status."""
    body = _object(reply.content)
    detail = body["error"] if isinstance(body.get("error"), dict) else {}
    code = detail.get("code")
    found = (detail.get("message"), body.get("message"), body.get("error"), body.get("detail"))
    message = next((text for text in found if isinstance(text, str)), None)
    known = errors.error_class(code) if isinstance(code, str) else None
    cls = known or _BY_STATUS.get(reply.status, IngrainError)
    if message is None:
        message = f"The server answered {reply.status} to {call.method} {call.path} and gave no reason."
    param = detail.get("param")
    facts = {name: value for name, value in detail.items() if name not in _OUR_FACTS}
    if isinstance(index := facts.get("index"), int) and index < len(call.places):
        facts["index"] = call.places[index]
    error = cls(
        _at_places(message, call.places),
        param=_at_places(param, call.places) if isinstance(param, str) else None,
        retry_after_s=_retry_after_s(reply.headers),
        facts=facts,
    )
    error.answer = body or None
    error.status = reply.status
    error.request_id = reply.headers.get("x-request-id", call.request_id)
    return error


def error_of_transport(call: Call[object], url: str, error: httpx.HTTPError) -> Failure:
    """Return the failure for an exception of httpx."""
    was_sent = not isinstance(error, _NOT_SENT)
    found: IngrainError
    if isinstance(error, httpx.TimeoutException) and was_sent:
        found = errors.AnswerTimeoutError(f"The server at {url} did not answer {call.path} in time.")
    elif isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol):
        what = "The connection to" if was_sent else "No server answers at"
        rest = " broke." if was_sent else f". Start one with `ingrain serve`, or give the {call.plane} plane's address."
        found = errors.ServerUnreachableError(f"{what} {url}{rest}")
    else:
        found = errors.UnexpectedAnswerError(f"The answer of {url} to {call.path} cannot be read.")
    found.request_id = call.request_id
    found.__cause__ = error
    return Failure(found, was_sent=was_sent)


def error_of_anothers(call: Call[object], url: str) -> Failure:
    """Return the failure for a response with the ``X-Request-Id`` of another request."""
    error = errors.UnexpectedAnswerError(
        f"{url} answered {call.path} with another request's X-Request-Id; the answer was discarded. If a proxy "
        "replaces the ids, configure it to keep the client's, or create the client with match_request_ids=False "
        "(INGRAIN_MATCH_REQUEST_IDS)."
    )
    error.request_id = call.request_id
    return Failure(error, was_anothers=True)


def unexpected(what: str) -> errors.UnexpectedAnswerError:
    """Return the error for a response that the route would not send."""
    return errors.UnexpectedAnswerError(f"{what} Is this an Ingrain server of a compatible version?")


def _object(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; empty if there is none."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of ``Retry-After``; None if it is missing or a date, which Ingrain never sends."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _at_places(text: str, places: Sequence[int]) -> str:
    """Replace item numbers of one request by those of the caller's list, which may take several requests."""

    def named(found: re.Match[str]) -> str:
        number = int(found["number"])
        return f"{found['field']}[{places[number]}]" if number < len(places) else found[0]

    return _ITEM.sub(named, text)
