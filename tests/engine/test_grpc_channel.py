"""The light gRPC channel against gRPC's own server, and against servers that misbehave."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain.engine.triton import http2
from ingrain.engine.triton.grpc_channel import UnaryChannel
from ingrain.engine.triton.grpc_connection import CallError
from ingrain.engine.triton.http2 import Kind

pytestmark = pytest.mark.both_loops

PATH = "/test.Service/Call"
Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


async def echo(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return message


@contextlib.asynccontextmanager
async def grpc_server(address: str, handler: Handler, **options: int) -> AsyncIterator[grpc.aio.Server]:
    settings = [("grpc.max_receive_message_length", -1), *((f"grpc.{key}", value) for key, value in options.items())]
    server = grpc.aio.server(options=settings)
    methods = {"Call": grpc.unary_unary_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", methods)])
    server.add_insecure_port(address)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def channel_to(target: str) -> AsyncIterator[UnaryChannel]:
    channel = UnaryChannel(target, PATH)
    try:
        yield channel
    finally:
        await channel.close()


@pytest.fixture(params=["unix", "tcp"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "unix":
        return f"unix:{tmp_path / 'grpc'}"
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


async def code_of(call: Awaitable[bytes]) -> StatusCode:
    with pytest.raises(CallError) as caught:
        await call
    return caught.value.code


@pytest.mark.parametrize("size", [0, 1, 16_378, 16_379, 16_380, 65_530, 65_531, 3_000_000])
async def test_a_message_of_any_size_comes_back(target: str, size: int) -> None:
    message = bytes(i * 7 % 251 for i in range(min(size, 10_007))) * (size // 10_007 + 1)
    async with grpc_server(target, echo), channel_to(target) as channel:
        for _ in range(3):
            assert await channel.call(message[:size], timeout_s=20) == message[:size]


async def test_calls_side_by_side_get_their_own_answers(target: str) -> None:
    async def slow_echo(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(message[0] / 4000)
        return message

    messages = [bytes([number]) * (1 + number * 997) for number in range(100)]
    async with grpc_server(target, slow_echo), channel_to(target) as channel:
        answers = await asyncio.gather(*(channel.call(message, timeout_s=30) for message in messages))
        assert list(answers) == messages


async def test_small_windows_of_the_server_are_kept_to(target: str) -> None:
    """A server that takes few bytes at once is waited for, by several calls side by side."""
    messages = [bytes([number]) * 200_000 for number in range(8)]
    options = {"http2.lookahead_bytes": 1024, "http2.bdp_probe": 0, "http2.max_frame_size": 16_384}
    async with grpc_server(target, echo, **options), channel_to(target) as channel:
        answers = await asyncio.gather(*(channel.call(message, timeout_s=30) for message in messages))
        assert list(answers) == messages


@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT, StatusCode.UNAVAILABLE])
async def test_a_refusal_keeps_its_code_and_words(target: str, code: StatusCode) -> None:
    async def refuse(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(code, "naïve words: 100 %")
        raise AssertionError

    async with grpc_server(target, refuse), channel_to(target) as channel:
        for _ in range(2):
            with pytest.raises(CallError) as caught:
                await channel.call(b"x", timeout_s=30)
            assert caught.value.code == code
            assert caught.value.details == "naïve words: 100 %"


@pytest.mark.parametrize("how", ["deadline", "cancelled"])
async def test_a_call_that_is_given_up_is_cancelled_at_the_server(target: str, how: str) -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def wait(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if message == b"quick":
            return message
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            given_up.set()
        return message

    async with grpc_server(target, wait), channel_to(target) as channel:
        if how == "deadline":
            assert await code_of(channel.call(b"slow", timeout_s=0.2)) == StatusCode.DEADLINE_EXCEEDED
        else:
            call = asyncio.create_task(channel.call(b"slow"))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await asyncio.wait_for(given_up.wait(), 30)
        assert await channel.call(b"quick", timeout_s=30) == b"quick"


async def test_nobody_there_is_unavailable_and_is_found_when_there(target: str) -> None:
    async with channel_to(target) as channel:
        assert await code_of(channel.call(b"x", timeout_s=30)) == StatusCode.UNAVAILABLE
        async with grpc_server(target, echo):
            await asyncio.sleep(0.15)
            assert await channel.call(b"x", timeout_s=30) == b"x"


async def test_a_server_that_ends_lets_begun_calls_finish_and_its_successor_is_found(target: str) -> None:
    begun = asyncio.Event()

    async def slow(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        begun.set()
        await asyncio.sleep(0.5)
        return message

    async with channel_to(target) as channel:
        async with grpc_server(target, slow) as server:
            call = asyncio.create_task(channel.call(b"begun", timeout_s=30))
            await begun.wait()
            await server.stop(20)
            assert await call == b"begun"
        async with grpc_server(target, echo):
            await asyncio.sleep(0.15)
            assert await channel.call(b"again", timeout_s=30) == b"again"


async def test_closing_fails_what_waits_and_what_comes(target: str) -> None:
    async def never(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(30)
        return message

    async with grpc_server(target, never):
        channel = UnaryChannel(target, PATH)
        call = asyncio.create_task(channel.call(b"x"))
        await asyncio.sleep(0.3)
        await channel.close()
        assert await code_of(call) == StatusCode.CANCELLED
        assert await code_of(channel.call(b"y")) == StatusCode.CANCELLED


@contextlib.asynccontextmanager
async def scripted_server(
    path: Path, script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[None]:
    handled = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handled.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await script(reader, writer)
        writer.close()

    async with await asyncio.start_unix_server(handle, path):
        yield
    await asyncio.wait_for(asyncio.gather(*filter(None, handled)), 30)


OK = http2.encode_headers([(":status", "200"), ("content-type", "application/grpc")])
DONE = http2.encode_headers([("grpc-status", "0")])


def good_answer(stream: int) -> bytes:
    message = http2.frame(Kind.DATA, 0, stream, b"\0\0\0\0\2ok")
    return http2.frame(Kind.HEADERS, 4, stream, OK) + message + http2.frame(Kind.HEADERS, 5, stream, DONE)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", StatusCode.UNAVAILABLE),
        (http2.frame(Kind.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.CONTINUATION, 4, 1, OK), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.HEADERS, 4, 1, b"\xbe\xff\xff"), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.WINDOW_UPDATE, 0, 0, b"\0"), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.SETTINGS, 0, 0, b"\0"), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\7"), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\2"), StatusCode.INTERNAL),
        (http2.frame(Kind.GOAWAY, 0, 0, bytes(8)), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.HEADERS, 5, 1, http2.encode_headers([(":status", "503")])), StatusCode.UNAVAILABLE),
        (http2.frame(Kind.HEADERS, 5, 1, OK), StatusCode.UNKNOWN),
        (http2.frame(Kind.HEADERS, 4, 1, OK) + http2.frame(Kind.HEADERS, 5, 1, DONE), StatusCode.INTERNAL),
        (
            http2.frame(Kind.HEADERS, 4, 1, OK)
            + http2.frame(Kind.DATA, 0, 1, b"\1\0\0\0\1x")
            + http2.frame(Kind.HEADERS, 5, 1, DONE),
            StatusCode.INTERNAL,
        ),
    ],
)
async def test_a_server_that_misbehaves_fails_the_call_and_nothing_else(
    tmp_path: Path, answer: bytes, code: StatusCode
) -> None:
    answers = [answer]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(http2.PREFACE))
        writer.write(http2.frame(Kind.SETTINGS, 0, 0))
        frames = http2.FrameReader()
        while data := await reader.read(1 << 16):
            for kind, flags, stream, _ in frames.feed(data):
                if kind == Kind.DATA and flags & http2.END_STREAM:
                    writer.write(answers.pop() if answers else good_answer(stream))

    path = tmp_path / "grpc"
    async with scripted_server(path, script), channel_to(f"unix:{path}") as channel:
        assert await code_of(channel.call(b"x", timeout_s=30)) == code
        assert await channel.call(b"x", timeout_s=30) == b"ok"


async def test_windows_that_grow_and_shrink_are_kept_to(tmp_path: Path) -> None:
    """Not a byte more than the server gave leave for is sent; all is when it has given leave for all."""
    received = bytearray()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(http2.PREFACE))
        writer.write(http2.frame(Kind.SETTINGS, 0, 0, b"\0\4" + (70_000).to_bytes(4, "big")))
        given, frames = 65_535, http2.FrameReader()
        while data := await reader.read(1 << 16):
            for kind, flags, stream, payload in frames.feed(data):
                if kind != Kind.DATA:
                    continue
                received.extend(payload)
                assert len(received) <= given
                if flags & http2.END_STREAM:
                    writer.write(good_answer(stream))
                elif len(received) == given:
                    given += 10_000
                    writer.write(http2.window_update(10_000))
                    writer.write(http2.frame(Kind.WINDOW_UPDATE, 0, stream, (10_000).to_bytes(4, "big")))

    path = tmp_path / "grpc"
    async with scripted_server(path, script), channel_to(f"unix:{path}") as channel:
        assert await channel.call(b"y" * 300_000, timeout_s=10) == b"ok"
    assert received[5:] == b"y" * 300_000


FRAMES = st.lists(
    st.tuples(st.sampled_from([Kind.DATA, Kind.PING, Kind.SETTINGS]), st.binary(max_size=400)), max_size=12
)


@given(FRAMES, st.data())
def test_frames_are_the_same_however_they_were_cut(frames: list[tuple[Kind, bytes]], data: st.DataObject) -> None:
    whole = b"".join(http2.frame(kind, 0, 1, payload) for kind, payload in frames)
    reader, found, start = http2.FrameReader(), [], 0
    while start < len(whole):
        size = data.draw(st.integers(1, max(1, min(500, len(whole) - start))))
        found += list(reader.feed(whole[start : start + size]))
        start += size
    assert [(kind, payload) for kind, _, _, payload in found] == frames


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_bytes_are_frames_or_an_error(noise: bytes) -> None:
    with contextlib.suppress(http2.Http2Error):
        for kind, _, _, payload in http2.FrameReader().feed(noise):
            if kind == Kind.HEADERS:
                http2.decode_headers(payload)


def test_headers_in_pieces_and_padded_are_put_together() -> None:
    block = http2.encode_headers([("grpc-status", "5"), ("grpc-message", "x" * 50)])
    padded = bytes([3]) + bytes(5) + block[:20] + bytes(3)
    pieces = http2.frame(Kind.HEADERS, 0x1 | 0x8 | 0x20, 1, padded) + http2.frame(Kind.CONTINUATION, 4, 1, block[20:])
    [(kind, flags, stream, payload)] = http2.FrameReader().feed(pieces)
    assert (kind, stream) == (Kind.HEADERS, 1)
    assert flags & http2.END_STREAM
    assert http2.decode_headers(payload) == {"grpc-status": "5", "grpc-message": "x" * 50}
