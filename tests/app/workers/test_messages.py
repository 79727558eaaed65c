"""Messages arrive as they were sent, however long, and the end of the other side is seen."""

import asyncio
import socket
from pathlib import Path

import pytest

from ingrain.app.placement import placement_of
from ingrain.app.workers import requests_to_main
from ingrain.app.workers.messages import (
    Applied,
    AskDemand,
    AskRefresh,
    Channel,
    Counted,
    Demanded,
    EngineStatistics,
    Finish,
    Follow,
    FromWorker,
    Refreshed,
    Setup,
    ToWorker,
    Withdraw,
)
from ingrain.app.workers.requests_to_main import Questions
from ingrain.engine.protocol import BatchStatistics, Duration, GraphStatistics
from ingrain.engine.triton.address import EngineAddress
from ingrain.errors import EngineUnavailableError, ModelLoadingError
from ingrain.progress import Progress
from ingrain.registry.snapshot import ModelView, RegistryView
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.tuning import Execution, Layout
from ingrain.server.plane.counts import Counts, LatencyCounts, QueueCounts
from ingrain.settings import Settings

VIEW = RegistryView(
    is_started=True,
    models=(
        ModelView(
            number=1,
            ref=ModelRef(name="org/a"),
            state="READY",
            is_open=True,
            executions={"text_encoder": Execution(layout=Layout(2, 1), max_items=32, max_tokens=512)},
        ),
        ModelView(
            number=7,
            ref=ModelRef(name="ViT-B-32", library="open_clip", pretrained="openai"),
            state="LOADING",
            is_open=False,
            error="It broke.",
            progress=Progress(phase="export", done=1, total=2),
        ),
    ),
)
GRAPH = GraphStatistics(
    name="g",
    version="1",
    last_inference_ms=3,
    inference_count=4,
    execution_count=5,
    durations={"success": Duration(count=1, ns=2)},
    batches=(
        BatchStatistics(batch_size=1, compute_input=Duration(), compute_infer=Duration(), compute_output=Duration()),
    ),
)
SETTINGS = Settings(repository="/a", local_models_dir=Path("/b"), api_keys=("k:infer",), fetch_hosts=("x",))
TO_WORKER = [
    Setup(settings=SETTINGS, placement=placement_of(SETTINGS), instances=2),
    Setup(settings=Settings(), placement=placement_of(Settings()), instances=1),
    Follow(
        version=3, view=VIEW, everywhere=frozenset({1}), engine=(EngineAddress(target="unix:/t", pid=9),), starting="x"
    ),
    EngineStatistics(4, [GRAPH] * 5000),
    EngineStatistics(5, error="It is away."),
    Demanded(6),
    Demanded(7, "It is away.", "model_loading", 2.0),
    Finish(2.5),
]
COUNTS = Counts(
    in_progress=1,
    answers={"/embed_text": {200: 3, 404: 1}},
    latencies={"/embed_text": LatencyCounts([1, 2], 0.5)},
    queues={"org/a": QueueCounts(waiting_tokens=1, batches=2)},
)
FROM_WORKER = [
    Applied(3, frozenset({7})),
    Counted(COUNTS),
    Counted(COUNTS, {1: (5.5, None), 7: (6.5, -1.0)}),
    AskRefresh(1),
    AskDemand(2, name="org/a", library=None, pretrained="openai"),
    Applied(4, leaving=frozenset({8})),
    Withdraw(2),
]


async def both_ends() -> tuple[Channel[FromWorker], Channel[ToWorker]]:
    one, other = socket.socketpair()
    return await Channel.on(FromWorker, one), await Channel.on(ToWorker, other)


async def test_every_message_arrives_as_it_was_sent_in_its_order():
    main, worker = await both_ends()
    for message in TO_WORKER:
        main.send(message)
    for message in FROM_WORKER:
        worker.send(message)
    assert [await worker.receive() for _ in TO_WORKER] == TO_WORKER
    assert [await main.receive() for _ in FROM_WORKER] == FROM_WORKER
    main.close()
    worker.close()


@pytest.mark.parametrize("cut", [0, 2, 6])
async def test_the_end_of_the_other_side_is_none_even_in_the_middle_of_a_message(cut):
    """Nothing at all, a piece of the length, a piece of the message."""
    one, other = socket.socketpair()
    channel: Channel[ToWorker] = await Channel.on(ToWorker, other)
    one.sendall((1000).to_bytes(4, "little")[: min(cut, 4)] + b"x" * max(0, cut - 4))
    one.close()
    assert await channel.receive() is None
    channel.send(AskRefresh(1))  # to the dead: nothing happens
    channel.close()


async def test_a_main_process_that_hangs_is_waited_for_only_so_long(monkeypatch):
    """The worker's caller gets an error with a time to come back; the late answer is dropped."""
    monkeypatch.setattr(requests_to_main, "_ANSWER_WAIT_S", 0.05)
    main, worker = await both_ends()
    questions = Questions(worker)
    with pytest.raises(EngineUnavailableError, match="main process does not answer") as caught:
        await questions.refresh()
    assert caught.value.retry_after_s
    asked = await main.receive()
    questions.answer(Refreshed(asked.number, changed=True))
    main.close()
    worker.close()


async def test_a_question_whose_client_is_gone_is_withdrawn():
    main, worker = await both_ends()
    demand = asyncio.create_task(Questions(worker).demand("org/a", None, None))
    asked = await main.receive()
    demand.cancel()
    assert await main.receive() == Withdraw(asked.number)
    main.close()
    worker.close()


async def test_the_error_of_a_load_on_demand_is_the_same_in_the_worker():
    main, worker = await both_ends()
    questions = Questions(worker)
    demand = asyncio.create_task(questions.demand("org/a", None, None))
    asked = await main.receive()
    assert (asked.name, asked.library) == ("org/a", None)
    questions.answer(Demanded(asked.number, "It broke.", "model_loading", 2.0))
    with pytest.raises(ModelLoadingError, match="It broke") as caught:
        await demand
    assert caught.value.retry_after_s == 2.0
    main.close()
    worker.close()
