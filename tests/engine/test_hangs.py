"""A part of the embedded Triton that hangs and does not die: it is noticed, restarted, and no answer is wrong."""

import asyncio
import contextlib
import os
import signal
import time

import numpy as np
import psutil
import pytest

import graphs
from ingrain.errors import EngineUnavailableError, ModelNotLoadedError

pytestmark = [pytest.mark.slow, pytest.mark.alone]

INPUTS = {"input_ids": np.ones((3, 4), np.int64), "attention_mask": np.ones((3, 4), np.int64)}
EXPECTED = graphs.expected_embedding(*INPUTS.values())
NOTICED_S = 20


def stub_of(engine) -> int:
    return psutil.Process(engine.pid).children()[0].pid


@pytest.mark.parametrize("part", ["server", "stub"])
@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
async def test_a_part_that_is_stopped_for_ever_is_restarted(embedded, tmp_path, write_graph, part, is_busy):
    """With and without traffic; callers get 503 with seconds to wait, and then right vectors again."""
    graph = write_graph(tmp_path, "python")
    back = asyncio.Event()
    embedded.on_restart(back.set)
    await embedded.load(graph)
    before = embedded.pid
    stopped = time.monotonic()
    os.kill(before if part == "server" else stub_of(embedded), signal.SIGSTOP)
    if is_busy:
        with pytest.raises(EngineUnavailableError) as caught:
            await embedded.infer("tiny", INPUTS, timeout_s=60)
        assert caught.value.retry_after_s <= 10
    await asyncio.wait_for(back.wait(), NOTICED_S)
    assert time.monotonic() - stopped < NOTICED_S
    assert embedded.pid != before
    assert not psutil.pid_exists(before)
    await embedded.load(graph)
    np.testing.assert_allclose((await embedded.infer("tiny", INPUTS))["sentence_embedding"], EXPECTED, atol=1e-6)


async def test_a_short_stop_of_the_server_is_no_restart(embedded, tmp_path, write_graph):
    await embedded.load(write_graph(tmp_path, "python"))
    before = embedded.pid
    os.kill(before, signal.SIGSTOP)
    call = asyncio.create_task(embedded.infer("tiny", INPUTS, timeout_s=60))
    await asyncio.sleep(1)
    os.kill(before, signal.SIGCONT)
    np.testing.assert_allclose((await call)["sentence_embedding"], EXPECTED, atol=1e-6)
    await asyncio.sleep(1)
    assert embedded.pid == before


async def test_a_short_stop_of_a_stub_is_no_fault_of_the_batch(embedded, tmp_path, write_graph):
    """Triton gives up a stub within a second and aborts when it goes on: the batch is refused, to be sent again."""
    graph = write_graph(tmp_path, "python")
    await embedded.load(graph)
    stub = stub_of(embedded)
    os.kill(stub, signal.SIGSTOP)
    call = asyncio.create_task(embedded.infer("tiny", INPUTS, timeout_s=60))
    await asyncio.sleep(1)
    os.kill(stub, signal.SIGCONT)
    deadline = time.monotonic() + NOTICED_S
    while True:
        try:
            np.testing.assert_allclose((await call)["sentence_embedding"], EXPECTED, atol=1e-6)
            return
        except (EngineUnavailableError, ModelNotLoadedError):
            assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
        with contextlib.suppress(EngineUnavailableError):
            await embedded.load(graph)
        call = asyncio.create_task(embedded.infer("tiny", INPUTS, timeout_s=60))
