"""What only a Triton at a URL meets: not being there, and not being a Triton."""

import asyncio
import contextlib
import time

import numpy as np
import pytest

from ingrain.engine.triton.engine import TritonEngine
from ingrain.errors import EngineUnavailableError
from processes import free_port


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
