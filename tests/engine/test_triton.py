"""What only a Triton at a URL meets: not being there, not being a Triton, and networks that lose it."""

import asyncio
import contextlib
import os
import signal
import time

import numpy as np
import pytest

from ingrain.engine.embedded.tritonserver import TritonServer
from ingrain.engine.triton.engine import TritonEngine
from ingrain.errors import DeadlineExceededError, EngineUnavailableError
from processes import free_port
from wire_tap import WireTap

INPUTS = {name: np.ones((2, 3), np.int64) for name in ("input_ids", "attention_mask")}


async def test_nobody_at_the_url_is_unavailable_in_time_and_names_the_setting():
    engine = TritonEngine(f"127.0.0.1:{free_port()}", start_timeout_s=0.5)
    begun = time.monotonic()
    with pytest.raises(EngineUnavailableError, match="TRITON_GRPC_URL") as caught:
        await engine.start()
    assert time.monotonic() - begun < 20
    assert caught.value.retry_after_s
    assert not await engine.live()


async def test_a_server_that_never_answers_is_unavailable_in_time():
    """A peer that takes the connection and says nothing must not hang the start."""
    opened = []
    server = await asyncio.start_server(lambda reader, writer: opened.append((reader, writer)), "127.0.0.1", 0)
    engine = TritonEngine(f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}", start_timeout_s=0.5)
    begun = time.monotonic()
    with pytest.raises(EngineUnavailableError):
        await engine.start()
    assert time.monotonic() - begun < 20
    server.close()
    await asyncio.sleep(0.1)  # for a connection that was on its way
    for _, writer in opened:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_calls_before_start_are_unavailable():
    engine = TritonEngine("127.0.0.1:1")
    with pytest.raises(EngineUnavailableError):
        await engine.infer("tiny", {"x": np.zeros((1, 1), np.int64)})
    with pytest.raises(EngineUnavailableError):
        await engine.statistics()
    assert not await engine.ready("tiny")
    await engine.close()


@pytest.mark.slow
async def test_arrays_beyond_grpcs_own_limit_of_4_mib_pass(embedded, tmp_path, write_graph):
    await embedded.load(write_graph(tmp_path, "python"))
    ids = np.ones((64, 20_000), np.int64)
    outputs = await embedded.infer("tiny", {"input_ids": ids, "attention_mask": ids})
    assert outputs["sentence_embedding"].shape == (64, 8)


@pytest.fixture
async def behind_a_proxy(tmp_path, write_graph):
    """A tritonserver, the proxy before it, and an engine that reaches it through the proxy and has a graph."""
    server = TritonServer(tmp_path, tcp_port=free_port())
    try:
        async with WireTap(f"http://{server.target}") as tap:
            engine = TritonEngine(tap.url.removeprefix("http://"), backend="python", watch_interval_s=0)
            await engine.start()
            await engine.load(write_graph(tmp_path, "python"))
            yield server, tap, engine
            await engine.close()
    finally:
        await server.stop(10)


@pytest.mark.slow
async def test_a_connection_that_a_proxy_forgot_flows_again_in_seconds(behind_a_proxy):
    """Open connections are frozen, new ones work: no batch is lost, and the engine is live."""
    _, tap, engine = behind_a_proxy
    before = tap.connections
    tap.freeze()
    began = time.monotonic()
    for answer in await asyncio.gather(*(engine.infer("tiny", INPUTS, timeout_s=60) for _ in range(4))):
        assert answer["sentence_embedding"].shape == (2, 8)
    assert time.monotonic() - began < 5
    assert await engine.live()
    assert tap.connections == before + 1


@pytest.mark.slow
async def test_a_stopped_tritonserver_is_unavailable_until_it_goes_on(behind_a_proxy):
    server, _, engine = behind_a_proxy
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceededError):
            await engine.infer("tiny", INPUTS, timeout_s=0.5)
        with pytest.raises(EngineUnavailableError):
            await engine.infer("tiny", INPUTS, timeout_s=60)
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(EngineUnavailableError) as caught:
                await engine.infer("tiny", INPUTS, timeout_s=60)
        assert time.monotonic() - began < 1
        assert caught.value.retry_after_s is not None
        assert not await engine.live()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    began = time.monotonic()
    while not await engine.live():
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.05)
    await engine.infer("tiny", INPUTS, timeout_s=60)


@pytest.mark.slow
async def test_a_graph_that_loads_slowly_is_waited_for(behind_a_proxy, tmp_path, write_graph):
    """Triton answers the health check while it loads a graph, so the connection is not taken for a silent one."""
    _, tap, engine = behind_a_proxy
    before = tap.connections
    graph = write_graph(tmp_path, "python", "late")
    for path in (tmp_path / "late" / "1").glob("model.py"):
        path.write_text(path.read_text() + "\ntime.sleep(7)\n")
    began = time.monotonic()
    await engine.load(graph)
    assert time.monotonic() - began > 6
    assert tap.connections == before
    await engine.infer("late", INPUTS, timeout_s=60)
