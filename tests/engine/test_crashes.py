"""A graph that crashes its process again and again is held back, and no longer takes the others along."""

import asyncio
import os
import signal

import numpy as np
import psutil
import pytest

from ingrain.engine.embedded.crashes import Crashes
from ingrain.errors import EngineError

INPUTS = {"input_ids": np.ones((3, 4), np.int64), "attention_mask": np.ones((3, 4), np.int64)}


def test_a_graph_is_held_back_after_four_crashes_in_a_minute_and_longer_each_time():
    crashes = Crashes()
    for now in (0, 5, 10):
        crashes.count("bad", now)
        assert crashes.held_s("bad", now) == 0
    crashes.count("bad", 15)
    assert crashes.held_s("bad", 16) == 59
    assert crashes.held_s("good", 16) == 0
    assert crashes.held_s("bad", 75) == 0
    crashes.count("bad", 80)
    assert crashes.held_s("bad", 80) == 120
    for _ in range(10):
        crashes.count("bad", 300)
    assert crashes.held_s("bad", 300) == 1800


def test_crashes_that_are_rare_are_forgotten():
    crashes = Crashes()
    for minute in range(100):
        crashes.count("graph", 60.0 * minute / 2)
        assert crashes.held_s("graph", 60.0 * minute / 2) == 0
    for _ in range(4):
        crashes.count("graph", 10_000)
    crashes.count("graph", 11_000)
    assert crashes.held_s("graph", 11_000) == 0


def stub_of(engine, name):
    stubs = psutil.Process(engine.pid).children()
    return next(stub.pid for stub in stubs if any(f"/{name}/1/" in word for word in stub.cmdline()))


@pytest.mark.slow
@pytest.mark.alone
async def test_a_graph_whose_process_dies_again_and_again_leaves_the_other_in_service(
    embedded, tmp_path, write_graph, monkeypatch
):
    monkeypatch.setattr("ingrain.engine.embedded.crashes._ENOUGH", 2)
    good, bad = write_graph(tmp_path, "python", "good"), write_graph(tmp_path, "python", "bad")
    back = asyncio.Event()
    embedded.on_restart(back.set)
    for _ in range(2):
        await embedded.load(bad)
        await embedded.load(good)
        back.clear()
        os.kill(stub_of(embedded, "bad"), signal.SIGKILL)
        await asyncio.wait_for(back.wait(), 30)
    await embedded.load(good)
    with pytest.raises(EngineError) as caught:
        await embedded.load(bad)
    assert caught.value.retry_after_s > 50
    assert (await embedded.infer("good", INPUTS))["sentence_embedding"].shape[0] == 3
