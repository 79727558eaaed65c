"""A gRPC connection to Triton that is replaced when it goes silent or garbles messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import grpc
from grpc import StatusCode
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ingrain.timeline import traceparent

logger = logging.getLogger(__name__)

_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Reconnect to a restarted Triton within a second, also at a new IP address.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # By default gRPC shares connections between channels, so a new channel would get the silent one's connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Connect to Triton directly, even if the environment sets an HTTP proxy.
    ("grpc.enable_http_proxy", 0),
]
_MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
# HTTP/2 pings cannot find a silent connection within seconds: Triton closes connections that ping more than once in
# five minutes. So ask for ServerLive, if nothing was received for this long while calls wait.
_SILENT_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_PROBE_AGAIN_S = 0.5
# A batch that waited on a silent connection waits so long for an answer on a new one before it fails.
_SECOND_CHANCE_S = 1.0
# Statuses that gRPC itself gives if bytes were changed on the way. A changed header can garble all later calls of its
# connection, so after so many of these without an answer in between, the connection is replaced, but not too often:
# Triton gives them too.
_DOUBTFUL = {
    StatusCode.UNKNOWN,
    StatusCode.INTERNAL,
    StatusCode.UNIMPLEMENTED,
    StatusCode.DATA_LOSS,
    StatusCode.CANCELLED,
    StatusCode.ABORTED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.PERMISSION_DENIED,
}
_MOST_DOUBTS = 3
_RENEW_AGAIN_S = 1.0
# Methods that Triton answers in another way as a rule.
_TELLING = {"ModelInfer", "ServerLive"}
# Calls that wait on a connection that was replaced for this reason may still be answered, for so long.
_LEAVE_AFTER_S = 5.0


class CallError(Exception):
    """A call that failed.

    Attributes:
        code: gRPC's status. ``CANCELLED`` if the connection was closed by ``close``; ``DATA_LOSS`` if Triton's answer
            was changed on the way.
        details: Triton's message, for the log.
    """

    def __init__(self, code: StatusCode, details: str = "") -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class _SilentError(CallError):
    """The connection went silent while the call waited."""


class _Channel:
    """A gRPC channel and the calls that wait on it."""

    def __init__(self, target: str) -> None:
        self.grpc = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self.grpc)
        self._model_infer = self.grpc.unary_unary(_MODEL_INFER)
        self.waiting = 0
        self.last_answer = 0.0
        self.opened = time.monotonic()
        self.doubts = 0
        self.is_left = False

    def method(self, name: str) -> Any:
        """Return a method of Triton. ``ModelInfer`` takes and returns bytes, the others take and return messages."""
        return self._model_infer if name == "ModelInfer" else getattr(self._stub, name)


class TritonConnection:
    """Calls Triton, on one HTTP/2 connection at a time, which is opened on demand.

    All calls share the connection, so that a health check tells what batches will meet. If a call waits, nothing was
    received for a second, and a ``ServerLive`` is not answered within two more, then the connection is silent: a proxy
    stopped forwarding, the host is gone, or Triton hangs. It is closed, and a new one is probed until Triton answers.
    Meanwhile calls fail at once with ``UNAVAILABLE``. Batches that waited on the silent connection are sent once more
    if the new one is answered. A connection that garbles messages is replaced, too.

    Must be created in an event loop.

    Args:
        target: ``host:port``, ``[address]:port``, or ``unix:`` and a path.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._channel = _Channel(target)
        self._guard: asyncio.Task[None] | None = None
        self._is_closed = False
        self._leaving: dict[_Channel, asyncio.Task[None]] = {}
        self._answers = asyncio.Event()
        self._answers.set()

    @property
    def is_local(self) -> bool:
        """Whether the connection is a UNIX socket, which changes no bytes."""
        return self._target.startswith("unix:")

    async def infer(self, message: bytes, timeout_s: float | None) -> bytes:
        """Send a serialized ``ModelInferRequest`` and return the serialized response.

        Args:
            message: The request.
            timeout_s: Seconds to wait; None for no limit.

        Raises:
            CallError: Triton returned an error, is gone, or did not respond in time.
        """
        began = time.monotonic()
        try:
            answer: bytes = await self.call("ModelInfer", message, timeout_s)
        except _SilentError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SECOND_CHANCE_S):
                    await self._answers.wait()
            if timeout_s is not None:
                timeout_s -= time.monotonic() - began
            answer = await self.call("ModelInfer", message, timeout_s)
        return answer

    async def call(self, method: str, request: Any, timeout_s: float | None) -> Any:
        """Call a method of Triton; see ``infer``."""
        if not self._answers.is_set():
            raise CallError(StatusCode.UNAVAILABLE, "Triton does not answer")
        return await self._call(method, request, timeout_s)

    def distrust(self) -> None:
        """Replace the connection, because it has garbled a message."""
        self._renew(self._channel)

    async def close(self) -> None:
        """Cancel all calls; they fail with ``CANCELLED``, and so do later ones."""
        self._is_closed = True
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.wait([self._guard])
        for channel, leaving in list(self._leaving.items()):
            leaving.cancel()
            await self._leave(channel)
        await self._leave(self._channel)

    async def _call(self, method: str, request: Any, timeout_s: float | None) -> Any:
        if self._is_closed:
            raise CallError(StatusCode.CANCELLED, "the connection was closed")
        channel = self._channel
        channel.waiting += 1
        if self._guard is None:
            self._guard = asyncio.create_task(self._watch_for_silence(), name="watch the connection to triton")
        try:
            answer = await channel.method(method)(request, timeout=timeout_s, metadata=_trace_of(method))
        except grpc.aio.AioRpcError as error:
            if error.code() not in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
                channel.last_answer = time.monotonic()
            if error.code() in _DOUBTFUL and method in _TELLING:
                self._doubt(channel)
            raise CallError(error.code(), error.details() or "") from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            # Closing a channel makes gRPC cancel its calls, even if the waiting task is not cancelled.
            task = asyncio.current_task()
            if not channel.is_left or (task is not None and task.cancelling()):
                raise
            if self._is_closed:
                raise CallError(StatusCode.CANCELLED, "the connection was closed") from error
            raise _SilentError(StatusCode.UNAVAILABLE, "the connection went silent") from error
        finally:
            channel.waiting -= 1
        channel.last_answer = time.monotonic()
        if answer is None:  # gRPC's way to say that it cannot parse the message
            self._renew(channel)
            raise CallError(StatusCode.DATA_LOSS, "the answer cannot be parsed")
        if method == "ModelInfer":  # other methods may go on where one is garbled
            channel.doubts = 0
        return answer

    def _doubt(self, channel: _Channel) -> None:
        channel.doubts += 1
        if channel.doubts >= _MOST_DOUBTS and time.monotonic() > channel.opened + _RENEW_AGAIN_S:
            self._renew(channel)

    def _renew(self, channel: _Channel) -> None:
        if channel is self._channel and not self._is_closed:
            logger.warning("The connection to Triton at %s may garble messages; opening a new one", self._target)
            self._channel = _Channel(self._target)
            leaving = asyncio.create_task(self._leave(channel, _LEAVE_AFTER_S), name="leave a connection to triton")
            self._leaving[channel] = leaving
            leaving.add_done_callback(lambda _: self._leaving.pop(channel))

    async def _watch_for_silence(self) -> None:
        """While calls wait, replace the connection when it is silent, until Triton answers on a new one."""
        try:
            while self._channel.waiting or not self._answers.is_set():
                if not self._answers.is_set():
                    await self._probe()
                    await asyncio.sleep(_PROBE_AGAIN_S)
                    continue
                await asyncio.sleep(_SILENT_S)
                if self._channel.waiting and self._channel.last_answer < time.monotonic() - _SILENT_S:
                    await self._probe()
        finally:
            self._guard = None

    async def _probe(self) -> None:
        """Ask whether Triton answers; leave the connection if it does not."""
        channel, began = self._channel, time.monotonic()
        try:
            await self._call("ServerLive", service_pb2.ServerLiveRequest(), _PROBE_TIMEOUT_S)
        except CallError as error:
            if error.code == StatusCode.UNAVAILABLE:
                return  # gRPC is connecting again by itself
            if error.code == StatusCode.DEADLINE_EXCEEDED:
                if channel.last_answer < began:
                    await self._replace(channel)
                return
            if error.code in _DOUBTFUL:
                return  # the next probe uses a new connection if this goes on
        self._answers.set()

    async def _replace(self, channel: _Channel) -> None:
        if self._answers.is_set():
            logger.error("Triton at %s does not answer; trying a new connection", self._target)
        self._answers.clear()
        self._channel = _Channel(self._target)
        await self._leave(channel)

    async def _leave(self, channel: _Channel, grace_s: float | None = None) -> None:
        channel.is_left = True
        await channel.grpc.close(grace_s)


def _trace_of(method: str) -> tuple[tuple[str, str], ...] | None:
    """Return the metadata with which Triton continues the trace of a batch; None if the batch is in none."""
    batch = traceparent.get() if method == "ModelInfer" else None
    return None if batch is None else (("traceparent", batch),)
