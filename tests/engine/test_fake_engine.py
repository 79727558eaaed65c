"""The fake can be trusted: its vectors follow from the row alone, and its failures are those of the real ones."""

import asyncio
import time

import numpy as np
import pytest

from ingrain.errors import EngineError, EngineUnavailableError, InferenceError
from ingrain.repository.manifest import Graph, Tensor
from ingrain.testing.fake_engine import FakeEngine, fake_vector

TEXT = Graph(
    name="text",
    role="text_encoder",
    inputs=tuple(Tensor(name=name, dtype="INT64", shape=(-1, -1)) for name in ("input_ids", "attention_mask")),
    outputs=(Tensor(name="sentence_embedding", dtype="FP32", shape=(-1, 8)),),
    files=(),
)
IMAGE = Graph(
    name="image",
    role="image_encoder",
    inputs=(Tensor(name="pixel_values", dtype="UINT8", shape=(-1, 4, 4, 3)),),
    outputs=(Tensor(name="embedding", dtype="FP32", shape=(-1, 8)),),
    files=(),
)


@pytest.fixture
async def engine():
    engine = FakeEngine(instances=2)
    await engine.start()
    await engine.load(TEXT)
    await engine.load(IMAGE)
    return engine


def text(*rows, width=None, left=False):
    width = width or max(map(len, rows))
    ids, mask = np.zeros((2, len(rows), width), np.int64)
    for number, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, span], mask[number, span] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


async def test_a_vector_is_the_same_with_any_padding_and_neighbours(engine):
    expected = fake_vector([5, 6, 7], 8)
    for batch in (text([5, 6, 7]), text([5, 6, 7], [1], width=9), text([5, 6, 7], [2] * 20, left=True)):
        vectors = (await engine.infer("text", batch))["sentence_embedding"]
        assert np.array_equal(vectors[0], expected)


async def test_different_rows_get_different_vectors(engine):
    rows = [[5, 6, 7], [7, 6, 5], [5, 6], [5, 6, 7, 0], [6, 5, 7]]
    vectors = (await engine.infer("text", text(*rows)))["sentence_embedding"]
    assert len({tuple(vector) for vector in vectors.tolist()}) == len(rows)
    assert np.isfinite(vectors).all()
    assert np.abs(vectors).max() <= 1


async def test_images_get_vectors_of_their_pixels(engine):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    both = (await engine.infer("image", {"pixel_values": pixels}))["embedding"]
    alone = (await engine.infer("image", {"pixel_values": pixels[1:2]}))["embedding"]
    assert np.array_equal(both[1], alone[0])
    assert not np.array_equal(both[0], both[1])


async def test_poison_fails_its_batch_and_nan_spoils_its_row(engine):
    engine.poison_id, engine.nan_id = 13, 17
    with pytest.raises(InferenceError):
        await engine.infer("text", text([1], [13]))
    vectors = (await engine.infer("text", text([1], [17])))["sentence_embedding"]
    assert np.isfinite(vectors[0]).all()
    assert np.isnan(vectors[1]).all()
    assert engine.batches == [("text", (2, 1))]


async def test_as_many_batches_run_at_once_as_there_are_instances(engine):
    engine.latency_s = 0.05
    begun = time.monotonic()
    await asyncio.gather(*(engine.infer("text", text([1])) for _ in range(6)))
    assert time.monotonic() - begun >= 0.14
    assert engine.most_in_flight == 2


async def test_a_batch_in_flight_dies_with_the_engine_even_if_it_comes_back_at_once(engine):
    engine.latency_s = 0.05
    called = []
    engine.on_restart(lambda: called.append(True))
    task = asyncio.create_task(engine.infer("text", text([1])))
    await asyncio.sleep(0.01)
    engine.die()
    engine.come_back()
    with pytest.raises(EngineUnavailableError):
        await task
    assert called == [True]
    assert not await engine.ready("text")


async def test_refused_graphs_do_not_load(engine):
    engine.refused = {"text"}
    await engine.unload("text")
    with pytest.raises(EngineError):
        await engine.load(TEXT)
    assert not await engine.ready("text")
