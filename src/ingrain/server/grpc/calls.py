"""Answers the calls of a gRPC service: each message is a request of an endpoint, as one over HTTP is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn

import grpc
import orjson

from ingrain.errors import IngrainError, InvalidRequestError
from ingrain.server.grpc.service import GrpcService, Method
from ingrain.server.http.application import Started
from ingrain.server.http.message import Request, Response
from ingrain.server.http.refusals import body_too_large, shutting_down, too_slow
from ingrain.server.plane.auth import credentials
from ingrain.server.plane.endpoint import Endpoint, RouteExchange, request_id_of
from ingrain.server.plane.errors import error_response
from ingrain.server.plane.services import Services

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    507: grpc.StatusCode.UNAVAILABLE,
}
"""The gRPC status of each HTTP status; ``INTERNAL`` of any other."""
_MOST_AT_ONCE = 64
"""Messages of one stream that are in progress, or whose answer the client has not read; it then sends no more."""


class Calls:
    """Answers calls until they are told to stop.

    Args:
        service: The service.
        services: Services for its handlers.
        read_timeout_s: Timeout for receiving the message of a call that is no stream.
    """

    def __init__(self, service: GrpcService, services: Services, read_timeout_s: float) -> None:
        self._service = service
        self._services = services
        self._read_timeout_s = read_timeout_s
        self._running: set[_Call] = set()
        self._is_closing = False
        self._is_hurried = False
        self._woken = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what gRPC's server calls. All methods read their messages themselves, to refuse calls before that."""
        handlers = {}
        for name, method in self._service.methods.items():
            endpoint = Endpoint(method.route, self._service.dialect, self._services)
            if method.refusal is None:
                handlers[name] = grpc.stream_unary_rpc_method_handler(partial(self._unary, endpoint))
            else:
                handlers[name] = grpc.stream_stream_rpc_method_handler(partial(self._stream, endpoint, method))
        return grpc.method_handlers_generic_handler(self._service.name, handlers)

    # --- stopping ------------------------------------------------------------------------------------------------

    async def finish(self, grace_s: float) -> None:
        """Wait at most so many seconds, and only until ``hurry``, for the calls in progress; then refuse them.

        Streams take no more messages from now on.
        """
        self._is_closing = True
        for call in self._running:
            call.stop_reading()
        try:
            async with asyncio.timeout(grace_s):
                while self._running and not self._is_hurried:
                    self._woken.clear()
                    await self._woken.wait()
        except TimeoutError:
            pass
        for call in self._running:
            call.give_up()

    def hurry(self) -> None:
        """Have ``finish`` wait no longer."""
        self._is_hurried = True
        self._woken.set()

    def _begin(self) -> _Call:
        call = _Call()
        self._running.add(call)
        return call

    def _end(self, call: _Call) -> None:
        self._running.discard(call)
        self._woken.set()

    # --- calls with one message -----------------------------------------------------------------------------------

    async def _unary(self, endpoint: Endpoint, messages: object, context: grpc.aio.ServicerContext) -> bytes:
        """Answer a call. It is cancelled when the client leaves or its deadline has passed."""
        del messages  # they are read from the context
        call = self._begin()
        try:
            response = await self._respond(call, endpoint, context)
        finally:
            self._end(call)
        if response.status != 200:
            await _abort(context, response)
        context.set_trailing_metadata(tuple(response.headers.items()))
        return bytes(response.body)

    async def _respond(self, call: _Call, endpoint: Endpoint, context: grpc.aio.ServicerContext) -> Response:
        request = Request("POST", endpoint.route.path, headers=_headers(context))
        exchange = endpoint.begin(request)
        if exchange.refusal is not None:
            return exchange.refusal
        try:
            async with asyncio.timeout(self._read_timeout_s):
                message = await context.read()
            if message is grpc.aio.EOF:
                return exchange.refuse(InvalidRequestError("The call has no message."))
            request.body = message
            return await self._answer(exchange, request)
        except TimeoutError:
            return exchange.refuse(too_slow(self._read_timeout_s))
        except asyncio.CancelledError:
            if call.is_given_up:
                return exchange.refuse(shutting_down())
            exchange.abandon()
            raise

    async def _answer(self, exchange: RouteExchange, request: Request) -> Response:
        """Answer a request with its message."""
        size, bodies, limit = len(request.body), self._services.bodies, exchange.body_limit
        if size > limit.max_bytes:
            return exchange.refuse(body_too_large(limit))
        if not bodies.has_room(size):
            return exchange.refuse(bodies.full())
        bodies.take(size)
        try:
            answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            started = exchange.start(partial(_deliver, answered))
            if started is Started.NEEDS_A_TASK:
                return await exchange.answer()
            return await answered if isinstance(started, Started) else started
        finally:
            bodies.give_back(size)

    # --- calls with streams ---------------------------------------------------------------------------------------

    async def _stream(
        self, endpoint: Endpoint, method: Method, messages: object, context: grpc.aio.ServicerContext
    ) -> None:
        """Answer the messages of a call in the order in which their answers are complete."""
        del messages  # they are read from the context
        headers = _headers(context)
        try:
            self._services.keys.check(endpoint.route.scope, credentials(headers))
        except IngrainError as error:
            await self._refuse(context, error, headers)
        call = self._begin()
        places, writing = asyncio.Semaphore(_MOST_AT_ONCE), asyncio.Lock()

        async def answer(message: bytes) -> None:
            response = await self._respond_to_message(endpoint, headers, message)
            body = bytes(response.body)
            if response.status != 200:
                assert method.refusal is not None
                body = method.refusal(message, _text(response))
            async with writing:
                call.is_writing = True
                await context.write(body)
                call.is_writing = False
            places.release()

        try:
            async with asyncio.TaskGroup() as answering:
                try:
                    async with asyncio.timeout(None) as call.reading:
                        while not self._is_closing:
                            await places.acquire()
                            if (message := await context.read()) is grpc.aio.EOF:
                                break
                            answering.create_task(answer(message))
                except TimeoutError:
                    pass  # the server stops
                call.reading = None
        except asyncio.CancelledError:
            if not call.is_given_up or call.is_writing:  # no status can follow what the client does not read
                raise
        finally:
            self._end(call)
        if self._is_closing:
            await self._refuse(context, shutting_down(), headers)

    async def _respond_to_message(self, endpoint: Endpoint, headers: Mapping[bytes, bytes], message: bytes) -> Response:
        request = Request("POST", endpoint.route.path, headers=headers, body=message)
        exchange = endpoint.begin(request)
        if exchange.refusal is not None:
            return exchange.refusal
        try:
            return await self._answer(exchange, request)
        except asyncio.CancelledError:
            exchange.abandon()
            raise

    async def _refuse(
        self, context: grpc.aio.ServicerContext, error: IngrainError, headers: Mapping[bytes, bytes]
    ) -> NoReturn:
        request_id = request_id_of(Request("", "", headers=headers))
        await _abort(context, error_response(error, request_id, self._service.dialect))


class _Call:
    """A call in progress.

    Attributes:
        reading: While the call is a stream that reads: ends that.
        is_writing: Whether the call is a stream whose client has not yet room for an answer.
        is_given_up: Whether the server stops without waiting for the call.
    """

    def __init__(self) -> None:
        self.is_writing = False
        self.reading: asyncio.Timeout | None = None
        self.is_given_up = False
        self._task = asyncio.current_task()

    def stop_reading(self) -> None:
        """Have a stream read no more messages."""
        if self.reading is not None:
            self.reading.reschedule(asyncio.get_running_loop().time())

    def give_up(self) -> None:
        """Cancel the call; its client is told that the server stops."""
        self.is_given_up = True
        assert self._task is not None
        self._task.cancel()


def _deliver(answered: asyncio.Future[Response], response: Response) -> None:
    if not answered.done():
        answered.set_result(response)


def _headers(context: grpc.aio.ServicerContext) -> dict[bytes, bytes]:
    """Return the metadata of a call as headers; the values of a repeated one are joined by commas."""
    headers: dict[bytes, bytes] = {}
    given: Any = context.invocation_metadata() or ()
    for name, value in given:
        key, text = name.encode(), value if isinstance(value, bytes) else value.encode()
        headers[key] = text if key not in headers else headers[key] + b", " + text
    return headers


def _text(response: Response) -> str:
    """Return the text of an error response."""
    text: str = orjson.loads(response.body)["error"]
    return text


async def _abort(context: grpc.aio.ServicerContext, response: Response) -> NoReturn:
    """End a call with the status of an error response."""
    code = _CODES.get(response.status, grpc.StatusCode.INTERNAL)
    await context.abort(code, _text(response), tuple(response.headers.items()))
    raise AssertionError("abort raises")
