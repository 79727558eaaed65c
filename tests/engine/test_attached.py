"""Graphs on a Triton that somebody else looks after: it is left and found again as its owner says."""

import asyncio
import os
import signal

import numpy as np
import psutil
import pytest

import graphs
from ingrain.engine.tritons.attached import AttachedEngine
from ingrain.errors import EngineUnavailableError, InferenceError, ModelNotLoadedError

pytestmark = pytest.mark.slow

INPUTS = {"input_ids": np.ones((3, 4), np.int64), "attention_mask": np.ones((3, 4), np.int64)}


async def test_it_runs_graphs_while_there_is_a_triton_and_knows_when_a_part_of_it_dies(embedded, tmp_path, write_graph):
    attached = AttachedEngine(instances=1, statistics=embedded.statistics)
    assert not await attached.live()
    with pytest.raises(EngineUnavailableError):
        await attached.infer("tiny", INPUTS)
    await embedded.load(write_graph(tmp_path, "python"))
    attached.attach(embedded.addresses)
    assert await attached.live()
    outputs = await attached.infer("tiny", INPUTS)
    expected = graphs.expected_embedding(*INPUTS.values())
    np.testing.assert_allclose(outputs["sentence_embedding"], expected, atol=1e-6)
    with pytest.raises(ModelNotLoadedError):
        await attached.infer("absent", INPUTS)
    with pytest.raises(InferenceError):
        await attached.infer("tiny", INPUTS | {"input_ids": 10_000 * INPUTS["input_ids"]})
    assert await attached.statistics() == await embedded.statistics() != []

    back = asyncio.Event()
    embedded.on_restart(back.set)
    before = embedded.addresses
    os.kill(psutil.Process(embedded.pid).children()[0].pid, signal.SIGKILL)
    with pytest.raises(EngineUnavailableError):
        await attached.infer("tiny", INPUTS, timeout_s=5)
    await asyncio.wait_for(back.wait(), 20)
    assert embedded.addresses != before
    attached.attach(embedded.addresses)
    with pytest.raises(ModelNotLoadedError):
        await attached.infer("tiny", INPUTS)
    attached.attach(())
    with pytest.raises(EngineUnavailableError):
        await attached.infer("tiny", INPUTS)
    await attached.close()
