"""One suite that every engine passes."""

import asyncio
import time

import numpy as np
import pytest
import pytest_asyncio
from engines import ALL, Harness, batch

from ingrain.errors import (
    DeadlineExceededError,
    EngineError,
    EngineUnavailableError,
    InferenceError,
    ModelNotLoadedError,
)
from ingrain.repository.manifest import Graph

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=ALL)
async def harness(request, tmp_path_factory):
    harness = ALL[request.param](tmp_path_factory.mktemp(request.param))
    await harness.start()
    await harness.engine.load(harness.graphs["tiny"])
    yield harness
    await harness.close()


async def check(harness: Harness, name: str, inputs: dict[str, np.ndarray]) -> None:
    outputs = await harness.engine.infer(name, inputs, timeout_s=30)
    assert list(outputs) == ["sentence_embedding"]
    vectors = outputs["sentence_embedding"]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, harness.expected(name, **_ids_and_mask(inputs)), atol=1e-6)


def _ids_and_mask(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"ids": inputs["input_ids"], "mask": inputs["attention_mask"]}


@pytest.mark.parametrize(("items", "tokens"), [(1, 1), (1, 64), (2, 3), (7, 33), (16, 128)])
async def test_answers_with_the_right_numbers_at_any_batch_and_length(harness, items, tokens):
    await check(harness, "tiny", batch(items, tokens))


async def test_answers_with_the_outputs_that_are_asked_for(harness):
    outputs = await harness.engine.infer("tiny", batch(2, 3), timeout_s=30, outputs=["sentence_embedding"])
    assert list(outputs) == ["sentence_embedding"]


async def test_takes_arrays_that_are_not_contiguous(harness):
    inputs = {name: np.asfortranarray(array) for name, array in batch(4, 6).items()}
    await check(harness, "tiny", inputs)
    await check(harness, "tiny", {name: array[::2, :] for name, array in inputs.items()})


async def test_is_live_and_ready_for_what_is_loaded_alone(harness):
    assert await harness.engine.live()
    assert await harness.engine.ready("tiny")
    assert not await harness.engine.ready("nobody")


async def test_loads_infers_unloads_and_loads_again(harness):
    """Loading twice and unloading twice change nothing, and other graphs serve on."""
    graph = harness.graphs["other"]
    for _ in range(2):
        await harness.engine.load(graph)
        await harness.engine.load(graph)
        assert await harness.engine.ready("other")
        await check(harness, "other", batch(3, 5))
        await harness.engine.unload("other")
        await harness.engine.unload("other")
        assert not await harness.engine.ready("other")
        with pytest.raises(ModelNotLoadedError):
            await harness.engine.infer("other", batch(1, 2))
        await check(harness, "tiny", batch(2, 4))


async def test_concurrent_loads_of_one_graph_are_one(harness):
    graph = harness.graphs["other"]
    await asyncio.gather(*(harness.engine.load(graph) for _ in range(4)))
    await check(harness, "other", batch(2, 2))
    await harness.engine.unload("other")


async def test_unloading_an_unknown_graph_changes_nothing(harness):
    await harness.engine.unload("nobody")


async def test_refuses_to_load_a_graph_that_is_not_there(harness):
    tensors = harness.graphs["tiny"]
    missing = Graph(name="missing", role="text_encoder", inputs=tensors.inputs, outputs=tensors.outputs, files=())
    if hasattr(harness.engine, "refused"):
        harness.engine.refused.add("missing")
    with pytest.raises(EngineError) as caught:
        await harness.engine.load(missing)
    assert not isinstance(caught.value, EngineUnavailableError | InferenceError)
    assert not await harness.engine.ready("missing")
    assert await harness.engine.live()


async def test_unknown_graph_is_not_loaded(harness):
    with pytest.raises(ModelNotLoadedError):
        await harness.engine.infer("nobody", batch(1, 2))


def _wrong_batches() -> dict[str, dict[str, np.ndarray]]:
    good = batch(3, 4)
    ids, mask = good["input_ids"], good["attention_mask"]
    return {
        "dtype": {"input_ids": ids.astype(np.int32), "attention_mask": mask},
        "unknown dtype": {"input_ids": ids.astype(np.complex64), "attention_mask": mask},
        "rank": {"input_ids": ids[0], "attention_mask": mask[0]},
        "missing input": {"input_ids": ids},
        "unknown input": {**good, "token_type_ids": mask},
        "batch sizes": {"input_ids": ids, "attention_mask": mask[:2]},
        "lengths": {"input_ids": ids, "attention_mask": mask[:, :3]},
        "no inputs": {},
    }


@pytest.mark.parametrize("fault", _wrong_batches())
async def test_wrong_batch_is_an_inference_error_and_the_next_batch_is_served(harness, fault):
    with pytest.raises(InferenceError):
        await harness.engine.infer("tiny", _wrong_batches()[fault], timeout_s=10)
    await check(harness, "tiny", batch(2, 5))


async def test_concurrent_batches_get_their_own_answers(harness):
    """64 batches of many shapes at once: each answer belongs to its question."""
    await asyncio.gather(*(check(harness, "tiny", batch(1 + seed % 5, 1 + seed % 3, seed)) for seed in range(64)))


@pytest.mark.parametrize("name", ["products", "int8"])
async def test_a_text_has_the_same_vector_alone_on_all_cores_as_in_a_crowd(harness, name):
    """Whichever way a lone batch is computed: the first ones of a size are tried both ways."""
    await harness.engine.load(harness.graphs[name])
    crowd = batch(16, 12)
    together = (await harness.engine.infer(name, crowd, timeout_s=30))["sentence_embedding"]
    for row, length in enumerate(crowd["attention_mask"].sum(axis=1)):
        text = {key: array[row : row + 1, :length] for key, array in crowd.items()}
        for _ in range(2):
            alone = await harness.engine.infer(name, text, timeout_s=30, alone=True)
            np.testing.assert_allclose(alone["sentence_embedding"][0], together[row], atol=1e-5)
    await harness.engine.unload(name)


async def test_statistics_count_items_and_batches_without_warm_up(harness):
    await harness.engine.load(harness.graphs["counted"])
    for items in (1, 3, 3):
        await check(harness, "counted", batch(items, 4))
    async with asyncio.timeout(60):
        while True:  # Triton answers first, and counts then
            found = {graph.name: graph for graph in await harness.engine.statistics()}
            counted = found["counted"]
            if counted.inference_count >= 7:
                break
            await asyncio.sleep(0.02)
    assert "tiny" in found
    assert (counted.inference_count, counted.execution_count) == (7, 3)
    assert {batch.batch_size: batch.compute_infer.count for batch in counted.batches} == {1: 1, 3: 2}
    assert counted.durations["success"].count == 3
    assert counted.durations["fail"].count == 0
    assert abs(counted.last_inference_ms / 1000 - time.time()) < 30
    await harness.engine.unload("counted")
    assert "counted" not in {graph.name for graph in await harness.engine.statistics()}


async def test_a_batch_past_its_deadline_is_given_up_and_the_engine_serves_on(harness):
    await harness.engine.load(harness.graphs["slow"])
    with harness.slowly() as name:
        begun = time.perf_counter()
        with pytest.raises(DeadlineExceededError):
            await harness.engine.infer(name, batch(1, 2), timeout_s=0.15)
        assert time.perf_counter() - begun < 5
    await check(harness, "tiny", batch(2, 3))


async def test_a_cancelled_batch_leaves_the_engine_whole(harness):
    await harness.engine.load(harness.graphs["slow"])
    with harness.slowly() as name:
        task = asyncio.create_task(harness.engine.infer(name, batch(1, 2)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await check(harness, "tiny", batch(2, 3))
