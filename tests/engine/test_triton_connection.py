"""The connection to Triton against a server of the same service, and against servers and networks that misbehave."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from ingrain.engine.triton.connection import CallError, TritonConnection
from ingrain.timeline import traceparent
from processes import free_port
from stand_in_triton import live, never, server
from wire_tap import WireTap

FLOWS_AGAIN_S = 5


async def echo(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return message


@contextlib.asynccontextmanager
async def connection_to(target: str) -> AsyncIterator[TritonConnection]:
    connection = TritonConnection(target)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(params=["unix", "tcp"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'grpc'}" if request.param == "unix" else f"127.0.0.1:{free_port()}"


@contextlib.asynccontextmanager
async def tap_before(address: str) -> AsyncIterator[tuple[WireTap, TritonConnection]]:
    async with WireTap(f"http://{address}") as tap, connection_to(tap.url.removeprefix("http://")) as connection:
        yield tap, connection


async def code_of(call: Awaitable[bytes]) -> StatusCode:
    with pytest.raises(CallError) as caught:
        await call
    return caught.value.code


async def seconds_until_it_flows(connection: TritonConnection) -> float:
    """Call until an answer comes; every failure before it must be UNAVAILABLE."""
    began = time.monotonic()
    while time.monotonic() - began < 60:
        try:
            assert await connection.infer(b"again", 30) == b"again"
            return time.monotonic() - began
        except CallError as error:
            if error.code != StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("it never flowed again")


@pytest.mark.both_loops
@pytest.mark.parametrize("size", [0, 1, 65_535, 20_000_000])
async def test_a_message_of_any_size_comes_back(target: str, size: int) -> None:
    message = (bytes(range(251)) * (size // 251 + 1))[:size]
    async with server(target, echo), connection_to(target) as connection:
        for _ in range(2):
            assert await connection.infer(message, 60) == message


@pytest.mark.both_loops
async def test_the_trace_of_a_batch_goes_with_its_call_alone(target: str) -> None:
    seen = []

    async def look(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        seen.append(dict(context.invocation_metadata()).get("traceparent"))
        return message

    async with server(target, look), connection_to(target) as connection:
        await connection.infer(b"a", 30)
        token = traceparent.set("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        await connection.infer(b"a", 30)
        traceparent.reset(token)
        await connection.infer(b"a", 30)
    assert seen == [None, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None]


async def test_calls_side_by_side_get_their_own_answers(target: str) -> None:
    async def slow_echo(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(message[0] / 4000)
        return message

    messages = [bytes([number]) * (1 + number * 997) for number in range(100)]
    async with server(target, slow_echo), connection_to(target) as connection:
        assert await asyncio.gather(*(connection.infer(message, 60) for message in messages)) == messages


@pytest.mark.both_loops
@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT, StatusCode.UNAVAILABLE])
async def test_a_refusal_keeps_its_code_and_words(target: str, code: StatusCode) -> None:
    async def refuse(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(code, "naïve words: 100 %")
        raise AssertionError

    async with server(target, refuse), connection_to(target) as connection:
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await connection.infer(b"x", 60)
            assert caught.value.code == code
            assert caught.value.details == "naïve words: 100 %"


@pytest.mark.both_loops
@pytest.mark.parametrize("how", ["deadline", "cancelled"])
async def test_a_call_that_is_given_up_is_cancelled_at_the_server(target: str, how: str) -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def wait(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if message == b"quick":
            return message
        begun.set()
        try:
            await asyncio.sleep(300)
        finally:
            given_up.set()
        return message

    async with server(target, wait), connection_to(target) as connection:
        if how == "deadline":
            assert await code_of(connection.infer(b"slow", 1)) == StatusCode.DEADLINE_EXCEEDED
        else:
            call = asyncio.create_task(connection.infer(b"slow", None))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        async with asyncio.timeout(60):
            await given_up.wait()
        assert await connection.infer(b"quick", 60) == b"quick"


@pytest.mark.both_loops
async def test_nobody_there_is_unavailable_and_is_found_when_there(target: str) -> None:
    async with connection_to(target) as connection:
        assert await code_of(connection.infer(b"x", 60)) == StatusCode.UNAVAILABLE
        async with server(target, echo):
            assert await seconds_until_it_flows(connection) < FLOWS_AGAIN_S


@pytest.mark.both_loops
async def test_a_server_that_ends_lets_begun_calls_finish_and_its_successor_is_found(target: str) -> None:
    begun = asyncio.Event()

    async def slow(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        begun.set()
        await asyncio.sleep(0.5)
        return message

    async with connection_to(target) as connection:
        async with server(target, slow) as served:
            call = asyncio.create_task(connection.infer(b"begun", 60))
            await begun.wait()
            await served.stop(20)
            assert await call == b"begun"
        async with server(target, echo):
            assert await seconds_until_it_flows(connection) < FLOWS_AGAIN_S


@pytest.mark.both_loops
async def test_closing_fails_what_waits_and_what_comes(target: str) -> None:
    async with server(target, never):
        connection = TritonConnection(target)
        call = asyncio.create_task(connection.infer(b"x", None))
        await asyncio.sleep(0.3)
        await connection.close()
        assert await code_of(call) == StatusCode.CANCELLED
        assert await code_of(connection.infer(b"y", None)) == StatusCode.CANCELLED
        await connection.close()


async def test_a_peer_that_closes_connections_at_once_is_unavailable() -> None:
    """A connection that closes between its opening and the first byte is no fault of the request."""
    address = f"127.0.0.1:{free_port()}"
    async with server(address, echo), tap_before(address) as (tap, connection):
        tap.is_down = True
        for _ in range(3):
            assert await code_of(connection.infer(b"x", 60)) == StatusCode.UNAVAILABLE
        tap.is_down = False
        assert await seconds_until_it_flows(connection) < FLOWS_AGAIN_S


async def test_an_answer_that_is_cut_off_is_unavailable_and_the_next_call_works() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with server(address, echo), tap_before(address) as (tap, connection):
        assert await connection.infer(b"x", 60) == b"x"
        tap.cut = lambda number: True
        assert await code_of(connection.infer(b"y" * 3_000_000, 60)) == StatusCode.UNAVAILABLE
        tap.cut = lambda number: False
        assert await seconds_until_it_flows(connection) < FLOWS_AGAIN_S


async def test_an_answer_that_cannot_be_parsed_is_data_loss_and_costs_the_connection() -> None:
    address = f"127.0.0.1:{free_port()}"
    answers = [b"\xff\xff", service_pb2.ServerLiveResponse(live=True).SerializeToString()]

    async def health(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return answers.pop(0)

    async with server(address, echo, health=health), tap_before(address) as (tap, connection):
        question = service_pb2.ServerLiveRequest()
        assert await code_of(connection.call("ServerLive", question, 20)) == StatusCode.DATA_LOSS
        assert (await connection.call("ServerLive", question, 20)).live
        assert tap.connections == 2


@pytest.mark.parametrize("code", [StatusCode.UNKNOWN, StatusCode.UNIMPLEMENTED, StatusCode.INVALID_ARGUMENT])
async def test_a_connection_that_fails_again_and_again_by_statuses_of_grpc_is_replaced(
    code: StatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed header garbles all later calls of its connection. A bad batch does not."""
    monkeypatch.setattr("ingrain.engine.triton.connection._RENEW_AGAIN_S", 0.0)
    address = f"127.0.0.1:{free_port()}"

    async def refuse(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(code)
        raise AssertionError

    async with server(address, refuse), tap_before(address) as (tap, connection):
        for _ in range(4):
            assert await code_of(connection.infer(b"x", 60)) == code
        assert tap.connections == (1 if code == StatusCode.INVALID_ARGUMENT else 2)


async def test_a_server_of_another_protocol_is_unavailable() -> None:
    async with (
        WireTap(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as tap,
        connection_to(tap.url.removeprefix("http://")) as connection,
    ):
        assert await code_of(connection.infer(b"x", 60)) == StatusCode.UNAVAILABLE


async def test_what_waits_on_a_connection_that_goes_silent_is_answered_on_a_new_one() -> None:
    """A proxy forwards nothing more on open connections: all calls get their answers, in seconds."""
    address = f"127.0.0.1:{free_port()}"
    async with server(address, echo), tap_before(address) as (tap, connection):
        assert await connection.infer(b"x", 60) == b"x"
        tap.freeze()
        began = time.monotonic()
        messages = [bytes([number]) for number in range(5)]
        assert await asyncio.gather(*(connection.infer(message, 60) for message in messages)) == messages
        assert time.monotonic() - began < FLOWS_AGAIN_S
        assert tap.connections == 2


@pytest.mark.slow
async def test_an_idle_connection_that_goes_silent_is_found_by_the_health_check_alone() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with server(address, echo), tap_before(address) as (tap, connection):
        tap.freeze()
        await connection.infer(b"x", 60)
        tap.freeze()
        with contextlib.suppress(CallError):
            await connection.call("ServerLive", service_pb2.ServerLiveRequest(), 2)
        await asyncio.sleep(FLOWS_AGAIN_S - 2)
        assert (await connection.call("ServerLive", service_pb2.ServerLiveRequest(), 2)).live
        assert tap.connections == 2


@pytest.mark.slow
async def test_a_black_hole_lasts_no_longer_than_the_network_does() -> None:
    """Callers are told at once, after the first seconds, and are served soon after the network is back."""
    address = f"127.0.0.1:{free_port()}"
    async with server(address, echo), tap_before(address) as (tap, connection):
        assert await connection.infer(b"x", 60) == b"x"
        tap.is_frozen = True
        tap.freeze()
        until = time.monotonic() + 8
        assert await code_of(connection.infer(b"x", 60)) == StatusCode.UNAVAILABLE
        assert time.monotonic() < until
        while time.monotonic() < until:
            began = time.monotonic()
            assert await code_of(connection.infer(b"x", 60)) == StatusCode.UNAVAILABLE
            assert time.monotonic() - began < 1
            await asyncio.sleep(0.1)
        tap.is_frozen = False
        tap.thaw()
        assert await seconds_until_it_flows(connection) < FLOWS_AGAIN_S


@pytest.mark.slow
async def test_a_batch_that_takes_long_is_waited_for() -> None:
    """A server that answers no batch for many seconds is not silent, for it answers the health check."""
    address = f"127.0.0.1:{free_port()}"

    async def slow(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(6)
        return message

    async with server(address, slow), tap_before(address) as (tap, connection):
        assert await connection.infer(b"x", 60) == b"x"
        assert tap.connections == 1


@pytest.mark.slow
async def test_a_server_that_hangs_is_given_up_and_is_found_when_it_goes_on() -> None:
    """It accepts connections and never answers, as a stopped process does."""
    address = f"127.0.0.1:{free_port()}"
    hangs = asyncio.Event()

    async def health(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return await (never if hangs.is_set() else live)(message, context)

    async def infer(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return await (never if hangs.is_set() else echo)(message, context)

    async with server(address, infer, health=health), connection_to(address) as connection:
        hangs.set()
        impatient, patient = await asyncio.gather(
            code_of(connection.infer(b"x", 1)), code_of(connection.infer(b"x", 60))
        )
        assert (impatient, patient) == (StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE)
        began = time.monotonic()
        assert await code_of(connection.infer(b"x", 60)) == StatusCode.UNAVAILABLE
        assert time.monotonic() - began < 1
        hangs.clear()
        assert await seconds_until_it_flows(connection) < FLOWS_AGAIN_S


def test_event_loops_side_by_side_have_their_own_connections(tmp_path: Path) -> None:
    target = f"unix:{tmp_path / 'grpc'}"
    done: list[bytes] = []

    async def serve_and_call() -> None:
        async with server(target, echo), connection_to(target) as connection:
            threads = [threading.Thread(target=asyncio.run, args=(call(),)) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert await connection.infer(b"own", 60) == b"own"
            await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))

    async def call() -> None:
        async with connection_to(target) as connection:
            for _ in range(20):
                done.append(await connection.infer(b"x", 60))

    asyncio.run(serve_and_call())
    assert done == 60 * [b"x"]
