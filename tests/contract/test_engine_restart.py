"""What every engine does when it dies, comes back, or is closed."""

import asyncio
import time

import numpy as np
import pytest
from engines import ALONE, MORTAL, batch

from ingrain.errors import EngineUnavailableError, ModelNotLoadedError

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.mark.parametrize("kind", MORTAL)
async def test_dies_in_flight_and_comes_back_without_one_wrong_vector(kind, tmp_path):
    """By kill -9 with batches in flight: they fail at once, callbacks come, and 10 s later it serves as before."""
    harness = MORTAL[kind](tmp_path)
    engine = harness.engine
    back = asyncio.Event()
    await harness.start()
    try:
        engine.on_restart(back.set)
        for name in ("tiny", "slow"):
            await engine.load(harness.graphs[name])
        with harness.slowly() as slow:
            in_flight = asyncio.create_task(engine.infer(slow, batch(2, 3)))
            await asyncio.sleep(0.1)
            killed = time.monotonic()
            await harness.crash()
            with pytest.raises(EngineUnavailableError) as caught:
                await in_flight
        assert time.monotonic() - killed < 5
        assert caught.value.retry_after_s is not None

        recovery = asyncio.create_task(harness.recover())
        outcomes = set()
        while not back.is_set():
            assert time.monotonic() - killed < 10
            outcomes.add(await outcome(harness))
            await asyncio.sleep(0.005)
        await recovery
        assert outcomes <= {EngineUnavailableError, ModelNotLoadedError}
        assert EngineUnavailableError in outcomes
        assert not await engine.ready("tiny")
        await engine.load(harness.graphs["tiny"])
        assert await outcome(harness) is None
        assert time.monotonic() - killed < 10
    finally:
        await harness.close()


async def outcome(harness):
    """Infer one batch; return None if the answer is right, or the class of the error."""
    inputs = batch(2, 5)
    try:
        outputs = await harness.engine.infer("tiny", inputs, timeout_s=5)
    except (EngineUnavailableError, ModelNotLoadedError) as error:
        return type(error)
    expected = harness.expected("tiny", inputs["input_ids"], inputs["attention_mask"])
    np.testing.assert_allclose(outputs["sentence_embedding"], expected, atol=1e-6)
    return None


@pytest.mark.parametrize("kind", ALONE)
async def test_closed_engine_is_unavailable_and_batches_in_flight_end(kind, tmp_path):
    harness = ALONE[kind](tmp_path)
    await harness.start()
    await harness.engine.load(harness.graphs["slow"])
    with harness.slowly() as slow:
        in_flight = asyncio.create_task(harness.engine.infer(slow, batch(1, 2)))
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        await harness.close()
        assert time.monotonic() - begun < 12
        with pytest.raises(EngineUnavailableError):
            await asyncio.wait_for(in_flight, 10)
    assert not await harness.engine.live()
    assert not await harness.engine.ready("slow")
    with pytest.raises(EngineUnavailableError):
        await harness.engine.infer("slow", batch(1, 2))
    with pytest.raises(EngineUnavailableError):
        await harness.engine.load(harness.graphs["tiny"])
    await harness.engine.close()


async def test_external_triton_that_restarted_unseen_is_noticed_by_the_graphs_it_lost(tmp_path):
    """A restart between two looks of the watch is noticed all the same."""
    harness = MORTAL["triton"](tmp_path)
    await harness.start()
    try:
        back = asyncio.Event()
        harness.engine.on_restart(back.set)
        await harness.engine.load(harness.graphs["tiny"])
        await harness.engine._call(*_unload_behind_our_back("tiny"), 5)
        await asyncio.wait_for(back.wait(), 30)
        back.clear()
        await asyncio.sleep(1)
        assert not back.is_set()
    finally:
        await harness.close()


def _unload_behind_our_back(name):
    from tritonclient.grpc import service_pb2

    return "RepositoryModelUnload", service_pb2.RepositoryModelUnloadRequest(model_name=name)
