"""What only the engine in this process does."""

import asyncio
import threading
import time

import numpy as np
import pytest

from ingrain.engine.onnxruntime import OnnxRuntimeEngine
from ingrain.errors import DeadlineExceededError, EngineError, InferenceError
from ingrain.python_backend.lone import LoneSession
from ingrain.repository.tuning import Layout


def ones(items, tokens):
    ids = np.ones((items, tokens), np.int64)
    return {"input_ids": ids, "attention_mask": ids}


@pytest.fixture
async def engine(tmp_path):
    engine = OnnxRuntimeEngine(lambda name: tmp_path / name / "1" / "model.onnx", instances=2)
    await engine.start()
    yield engine
    await engine.close()


async def test_a_run_past_its_deadline_is_stopped_and_frees_its_slot(engine, tmp_path, write_graph):
    """Both slots are taken by runs of many seconds; after their deadline there is room at once."""
    await engine.load(write_graph(tmp_path, "onnxruntime", "slow", iterations=40_000))
    begun = time.monotonic()
    results = await asyncio.gather(
        *(engine.infer("slow", ones(1, 1), timeout_s=0.2) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(result, DeadlineExceededError) for result in results)
    assert time.monotonic() - begun < 10
    (statistics,) = await engine.statistics()
    assert statistics.durations["fail"].count == 5
    assert statistics.inference_count == 0


async def test_waiting_for_a_slot_counts_as_queue(engine, tmp_path, write_graph):
    await engine.load(write_graph(tmp_path, "onnxruntime", "slow", iterations=100))
    await asyncio.gather(*(engine.infer("slow", ones(1, 1)) for _ in range(6)))
    (statistics,) = await engine.statistics()
    assert statistics.durations["queue"].ns > statistics.durations["compute_infer"].ns / 10
    assert statistics.durations["success"].ns >= statistics.durations["compute_infer"].ns


async def test_several_threads_mean_a_session_for_each_instance(tmp_path, write_graph):
    graph = write_graph(tmp_path, "onnxruntime")
    for threads, sessions in ((1, 1), (2, 3)):
        engine = OnnxRuntimeEngine(tmp_path, instances=3, threads=threads)
        await engine.start()
        await engine.load(graph)
        assert len(engine._graphs["tiny"].sessions) == sessions
        await asyncio.gather(*(engine.infer("tiny", ones(1, 2)) for _ in range(9)))
        await engine.close()


@pytest.mark.parametrize("is_short", [True, False])
async def test_a_lone_batch_known_to_be_short_runs_in_the_event_loops_thread(
    tmp_path, write_graph, monkeypatch, is_short
):
    """Where it has all cores anyway, and nowhere else."""
    monkeypatch.setattr(LoneSession, "is_surely_short", lambda *_: is_short)
    engine = OnnxRuntimeEngine(tmp_path, instances=2, lone_threads=2)
    await engine.start()
    await engine.load(write_graph(tmp_path, "onnxruntime"))

    async def ends_in_one_step(*, alone: bool) -> bool:
        running = asyncio.create_task(engine.infer("tiny", ones(1, 2), timeout_s=30, alone=alone))
        await asyncio.sleep(0)
        ended = running.done()
        assert [len(rows) for rows in (await running).values()] == [1]
        return ended

    assert await ends_in_one_step(alone=True) is is_short
    assert not await ends_in_one_step(alone=False)
    await engine.close()


async def test_a_batch_that_fails_in_the_event_loops_thread_is_told_and_the_next_one_runs(
    tmp_path, write_graph, monkeypatch
):
    monkeypatch.setattr(LoneSession, "is_surely_short", lambda *_: True)
    engine = OnnxRuntimeEngine(tmp_path, instances=2, lone_threads=2)
    await engine.start()
    await engine.load(write_graph(tmp_path, "onnxruntime"))
    wrong = {name: array.astype(np.float32) for name, array in ones(1, 2).items()}
    with pytest.raises(InferenceError):
        await engine.infer("tiny", wrong, timeout_s=30, alone=True)
    assert [len(rows) for rows in (await engine.infer("tiny", ones(1, 2), timeout_s=30, alone=True)).values()] == [1]
    (statistics,) = await engine.statistics()
    assert (statistics.durations["fail"].count, statistics.inference_count) == (1, 1)
    await engine.close()


async def test_a_layout_of_its_own_holds_for_one_graph_alone(engine, tmp_path, write_graph):
    await engine.load(write_graph(tmp_path, "onnxruntime"))
    await engine.load(write_graph(tmp_path, "onnxruntime", "wide"), Layout(3, 2))
    assert [len(engine._graphs[name].free) for name in ("tiny", "wide")] == [2, 3]
    assert [len(engine._graphs[name].sessions) for name in ("tiny", "wide")] == [1, 3]
    await asyncio.gather(*(engine.infer(name, ones(1, 2)) for name in ("tiny", "wide") for _ in range(9)))


async def test_a_damaged_graph_is_refused_and_others_serve(engine, tmp_path, write_graph):
    await engine.load(write_graph(tmp_path, "onnxruntime"))
    broken = write_graph(tmp_path, "onnxruntime", "broken")
    path = tmp_path / "broken" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(EngineError, match="broken"):
        await engine.load(broken)
    assert not await engine.ready("broken")
    await engine.infer("tiny", ones(1, 1))


async def test_a_run_that_never_ends_is_left_and_told_by_live(engine, tmp_path, write_graph, monkeypatch):
    """Its caller gets an error, the other slot works on, and the engine is live again when the run has ended."""
    monkeypatch.setattr("ingrain.engine.onnxruntime._HUNG_S", 0.1)
    await engine.load(write_graph(tmp_path, "onnxruntime"))
    goes_on = threading.Event()

    class Hanging:
        def run(self, *arguments):
            goes_on.wait(60)
            return [np.zeros((1, 8), np.float32)]

    engine._graphs["tiny"].free.append(Hanging())
    with pytest.raises(DeadlineExceededError):
        await asyncio.wait_for(engine.infer("tiny", ones(1, 1), timeout_s=0.2), 20)
    assert engine._graphs["tiny"].free == engine._graphs["tiny"].sessions * 2
    await asyncio.sleep(0.2)
    assert not await engine.live()
    await engine.infer("tiny", ones(1, 1), timeout_s=20)
    goes_on.set()
    async with asyncio.timeout(20):
        while not await engine.live():
            await asyncio.sleep(0.01)
