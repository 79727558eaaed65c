"""What the main process waits for before it unloads the graphs of a model that workers serve."""

import asyncio
from types import SimpleNamespace

import pytest

from ingrain.app.workers.messages import Applied, Follow
from ingrain.app.workers.publisher import Publisher
from ingrain.app.workers.wait_for import Pulse
from ingrain.app.workers.worker_process import WorkerProcess
from ingrain.registry.snapshot import ModelView, RegistryView
from ingrain.repository.models_to_load import ModelRef


def a_state(*, is_open: bool) -> Follow:
    model = ModelView(number=7, ref=ModelRef(name="org/a"), state="READY", is_open=is_open)
    return Follow(version=0, view=RegistryView(is_started=True, models=(model,)), engine=(), starting=None)


async def test_graphs_stay_until_the_requests_of_their_model_are_answered_in_every_worker_and_others_wait_for_none():
    sent: list[Follow] = []
    channel, other = SimpleNamespace(send=sent.append), SimpleNamespace(send=lambda _: None)
    workers = [
        WorkerProcess(number=number, process=None, channel=one, sender=None, table=None, is_up=True)
        for number, one in enumerate((channel, other))
    ]
    state = a_state(is_open=True)
    publisher = Publisher(lambda: state, lambda: workers, Pulse())
    for worker in workers:
        publisher.applied(worker, Applied(1))
    state = a_state(is_open=False)
    unloading = asyncio.create_task(publisher.settle(7))
    await asyncio.sleep(0)
    version = sent[-1].version
    publisher.applied(workers[0], Applied(version, leaving=frozenset({7})))
    publisher.applied(workers[1], Applied(version))
    version = sent[-1].version
    for worker in workers:
        publisher.applied(worker, Applied(version, leaving=worker.leaving))
    await publisher.settle(8)  # another model
    await publisher.settle(None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await asyncio.shield(unloading)
    publisher.applied(workers[0], Applied(version))
    async with asyncio.timeout(5):
        await unloading
