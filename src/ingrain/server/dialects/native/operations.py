"""Routes that follow, list and cancel loads."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from ingrain.api.operations import OperationAnswer, OperationsAnswer
from ingrain.progress import Progress
from ingrain.server.http.message import Request, Response, StreamedResponse
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.followed import followed
from ingrain.server.plane.operations import Operation
from ingrain.server.plane.route import Handler, Route
from ingrain.server.plane.services import ModelServices

EVENTS = "text/event-stream"
_NOTHING_TO_TELL = Progress("read")
_encoder = msgspec.json.Encoder()


async def _operations(services: ModelServices, request: Request) -> Response:
    del request
    return struct_answer(OperationsAnswer(operations=[described(one) for one in services.operations.all()]))


async def _operation(services: ModelServices, request: Request) -> Response:
    return struct_answer(described(services.operations.get(request.variable)))


async def _events(services: ModelServices, request: Request) -> Response:
    operation = services.operations.get(request.variable)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # the second is nginx's
    return StreamedResponse(pieces=_pieces(services, operation), media_type=EVENTS, headers=headers)


async def _pieces(services: ModelServices, operation: Operation) -> AsyncGenerator[bytes, None]:
    async for _ in followed(services, operation):
        event = b"progress" if operation.is_running else b"end"
        yield b"event: %s\ndata: %s\n\n" % (event, _encoder.encode(described(operation)))


async def _cancel(services: ModelServices, request: Request) -> Response:
    return struct_answer(described(await services.operations.cancel(request.variable)))


def described(operation: Operation) -> OperationAnswer:
    """Return an operation as it is sent."""
    ref, error = operation.ref, operation.error
    progress = operation.progress
    waits = operation.queue_position is not None
    told = progress or _NOTHING_TO_TELL
    return OperationAnswer(
        id=operation.id,
        name=ref.name,
        library=ref.library,
        pretrained=ref.pretrained or msgspec.UNSET,
        state=operation.state,
        phase="queued" if waits else "load" if progress is None else progress.phase,
        detail=told.detail,
        done=told.done,
        total=told.total,
        unit=told.unit,
        queue_position=operation.queue_position,
        attempt=operation.attempt,
        last_error=None if error is None else error.message,
        error_code=None if error is None else error.code,
        started_at=_time(operation.started_at),
        ended_at=None if operation.ended_at is None else _time(operation.ended_at),
    )


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _route(name: str, path: str, handler: Handler, summary: str, answer: type | None, **fields: Any) -> Route:
    return Route(
        name=name,
        plane="model",
        path=path,
        handler=handler,
        summary=summary,
        answer=answer,
        scope="models",
        **{"method": "GET", "errors": (404,), **fields},
    )


ROUTES = (
    _route("operations", "/operations", _operations, "List the loads that run or have ended.", OperationsAnswer),
    _route("operation", "/operations/{id}", _operation, "Describe a load.", OperationAnswer),
    _route(
        "operation_events",
        "/operations/{id}/events",
        _events,
        "Follow a load by server-sent events.",
        None,
        media=(EVENTS,),
        notes="An event `progress` with the operation at once and at each change, then an event `end`. The load goes "
        "on if the client disconnects. The events end early when the request's key of the keys file is no longer "
        "valid.",
    ),
    _route(
        "cancel_operation",
        "/operations/{id}/cancel",
        _cancel,
        "Stop a load.",
        OperationAnswer,
        method="POST",
        errors=(404, 409),
        notes="A model that was served before, in another precision or for another task, is still served.",
    ),
)
