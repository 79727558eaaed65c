"""What the queues of a model send to the engine."""

import msgspec
import numpy as np
import pytest

from ingrain.models.queues import QueueLimits
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.repository.models_to_load import ModelRef
from ingrain.testing.fake_engine import FakeEngine, fake_vector
from planes import TEXT, FakeExport, make_place, make_registry

MODEL = ModelRef(name="org/model")


def text_of(tokens: int) -> TokenizedText:
    return TokenizedText.of([2] * tokens)


@pytest.mark.parametrize(("few_lengths", "widths"), [(False, [20, 33, 65, 99]), (True, [20, 34, 68, 100])])
async def test_batches_have_few_lengths_where_that_is_wanted(tmp_path, few_lengths, widths):
    """Vectors stay the same, what is counted is what was sent, and nothing is longer than the model takes."""
    engine = FakeEngine()
    text = msgspec.structs.replace(TEXT, max_tokens=100)
    registry = make_registry(tmp_path, engine, FakeExport(text=text), queue_limits=QueueLimits(few_lengths=few_lengths))
    await engine.start()
    await registry.start()
    await registry.load(MODEL)
    queue = registry.get("org/model").queues["text_encoder"]
    for tokens in (20, 33, 65, 99):
        rows = await queue.submit([text_of(tokens)], timeout_s=5)
        np.testing.assert_array_equal(rows[0], fake_vector([2] * tokens, rows.shape[1]))
    assert [shape for _, shape in engine.batches] == [(1, width) for width in widths]
    assert queue.statistics.padded_tokens == sum(widths)
    await registry.close()


async def test_a_lone_batch_is_said_to_be_alone_and_one_beside_it_is_not(tmp_path):
    engine = FakeEngine(instances=2, latency_s=0.05)
    registry = make_registry(tmp_path, engine, FakeExport())
    await engine.start()
    await registry.start()
    await registry.load(MODEL)
    queue = registry.get("org/model").queues["text_encoder"]
    await queue.submit([text_of(9)], timeout_s=5)
    assert engine.alone == 1
    await queue.submit([text_of(9)] * 100, timeout_s=5)  # four batches
    assert engine.alone == 1
    assert len(engine.batches) > 2
    await registry.close()


async def test_each_of_several_devices_is_kept_busy(tmp_path):
    """A copy is made on every one, and one batch more than these can run waits in the engine."""
    engine, place = FakeEngine(latency_s=0.05), make_place()
    infer, now, most = engine.infer, 0, 0

    async def counted(*arguments, **options):
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await infer(*arguments, **options)
        finally:
            now -= 1

    engine.infer = counted
    registry = make_registry(tmp_path, engine, FakeExport(), place=place, queue_limits=QueueLimits(devices=3))
    await engine.start()
    await registry.start()
    await registry.load(MODEL)
    texts = [TokenizedText.of([2 + n, 2]) for n in range(500)]
    await registry.get("org/model").queues["text_encoder"].submit(texts, timeout_s=30)
    assert most == 3 * place.default.layout.copies + 1
    await registry.close()
