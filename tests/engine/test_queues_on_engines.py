"""Queues on real engines: what lacks memory is made smaller, and what a cold engine cannot do in time is refused."""

import asyncio
from collections import Counter

import numpy as np
import pytest

import graphs
from ingrain.engine.embedded.engine import EmbeddedEngine
from ingrain.engine.onnxruntime import OnnxRuntimeEngine
from ingrain.errors import DeadlineExceededError, EngineMemoryError, QueueFullError
from ingrain.models.queues import QueueLimits, token_queue
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.graph_folder import write_graph_folder
from ingrain.repository.manifest import Manifest, TextPreprocess

ENGINES = [
    pytest.param(lambda root: OnnxRuntimeEngine(root, instances=2), id="onnxruntime"),
    pytest.param(lambda root: EmbeddedEngine(root, instances=2), id="embedded", marks=pytest.mark.slow),
]


async def queue_of_graph(engine, root, name, limits, **options):
    """Write a graph, load it, and return its queue."""
    path = root / name / "1" / "model.onnx"
    graphs.write_text_graph(path, **options)
    graph = graphs.describe_graph(name, path)
    policy = ExecutionPolicy(max_batch_size=64, instance_kind="KIND_CPU", instances=2)
    write_graph_folder(root / name, graph, engine.backend, policy)
    await engine.load(graph)
    manifest = Manifest(
        name=name,
        library="sentence_transformers",
        architecture="Test",
        created_at="",
        versions={},
        embedding_size=graphs.WIDTH,
        graphs=(graph,),
        text=TextPreprocess(max_tokens=64),
    )
    return token_queue(graph, manifest, engine, limits)


def ids_of(number):
    return [1 + number % (graphs.VOCABULARY - 1), 1 + number * 7 % (graphs.VOCABULARY - 1)]


def text_of(number):
    return TokenizedText.of(ids_of(number))


def vectors_of(numbers):
    ids = np.array([ids_of(number) for number in numbers], np.int64)
    return graphs.expected_embedding(ids, np.ones_like(ids))


@pytest.mark.parametrize("make", ENGINES)
async def test_a_graph_without_memory_for_large_batches_answers_in_smaller_ones_beside_another(make, tmp_path, caplog):
    """ONNX Runtime really fails to allocate; the other graph of the engine notices nothing."""
    engine = make(tmp_path)
    await engine.start()
    try:
        limits = QueueLimits()
        greedy = await queue_of_graph(engine, tmp_path, "greedy", limits, most_items=5)
        other = await queue_of_graph(engine, tmp_path, "other", limits)
        requests = [greedy.submit([text_of(number)], timeout_s=60) for number in range(40)]
        beside = [other.submit([text_of(number)], timeout_s=60) for number in range(40)]
        bulk = greedy.submit([text_of(number) for number in range(100)], timeout_s=60)
        *singles, whole = await asyncio.gather(*requests, *beside, bulk)
        np.testing.assert_allclose(np.concatenate(singles), vectors_of([*range(40), *range(40)]), atol=1e-6)
        np.testing.assert_allclose(whole, vectors_of(range(100)), atol=1e-6)
        assert greedy.statistics.memory_failures > 0
        assert greedy.limits.max_tokens < limits.max_batch_tokens
        assert other.statistics.memory_failures == 0
        assert other.limits.max_tokens == limits.max_batch_tokens
        assert "of graph greedy failed for lack of memory" in caplog.text
        before = greedy.statistics.memory_failures
        await greedy.submit([text_of(number) for number in range(100)], timeout_s=60)
        assert greedy.statistics.memory_failures == before, "batches stay as small as memory allows"
        with pytest.raises(EngineMemoryError):  # Triton's warm-up fails, or the batch
            await (await queue_of_graph(engine, tmp_path, "hopeless", limits, most_items=0)).submit(
                [text_of(1)], timeout_s=60
            )
        assert (await other.submit([text_of(1)], timeout_s=60)).shape == (1, graphs.WIDTH)
    finally:
        await engine.close()


async def test_of_a_cold_burst_what_would_be_late_is_refused_and_the_rest_is_right(tmp_path):
    """2,000 clients at once at an engine that has not run a batch yet."""
    engine = OnnxRuntimeEngine(tmp_path, instances=2)
    await engine.start()
    try:
        queue = await queue_of_graph(engine, tmp_path, "slow", QueueLimits(), iterations=300)

        answers = {}

        async def send(number):
            await asyncio.sleep(number % 100 / 1000)
            try:
                answers[number] = (await queue.submit([text_of(number)], timeout_s=2))[0]
            except QueueFullError as error:
                return "refused" if 0 <= error.retry_after_s <= 30 else "refused for very long"
            except DeadlineExceededError:
                return "late"
            return "good"

        seen = Counter(await asyncio.gather(*(send(number) for number in range(2_000))))
    finally:
        await engine.close()
    np.testing.assert_allclose(list(answers.values()), vectors_of(answers), atol=1e-6)
    assert seen["good"] > 0
    assert seen["refused"] > 0
    assert seen["late"] <= 64 + 0.02 * seen["refused"], "only what was in the engine at its deadline"
    assert not seen["refused for very long"]
