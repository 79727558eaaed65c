"""What a worker learns of a load on demand that fails in the main process."""

import asyncio
import errno
import os
import socket
from types import SimpleNamespace

import pytest

from ingrain.app.placement import placement_of
from ingrain.app.services import model_services
from ingrain.app.workers.messages import AskDemand, Channel, FromWorker, ToWorker, Withdraw
from ingrain.app.workers.supervisor import Supervisor
from ingrain.app.workers.worker_process import WorkerProcess
from ingrain.settings import Settings
from ingrain.testing.fake_engine import FakeEngine
from planes import FakeExport, make_images, make_registry


@pytest.fixture
async def supervisor(tmp_path):
    """A supervisor without workers."""
    settings = Settings(repository=tmp_path, workers=1, load_on_demand=True)
    engine, images = FakeEngine(), make_images(settings)
    registry = make_registry(tmp_path, engine, FakeExport(), images=images)
    placement = placement_of(settings)
    services = model_services(settings, placement, engine=engine, registry=registry, images=images)
    supervisor = Supervisor(settings, placement, services, lambda: None)
    yield supervisor
    os.close(supervisor._descriptor)
    await images.aclose()
    await services.downloads.aclose()


async def test_any_failure_of_a_load_on_demand_is_answered(supervisor, monkeypatch):
    """Otherwise the request would wait until its deadline, and be told that the model is being loaded."""
    ours, theirs = socket.socketpair()
    main, worker = await Channel.on(FromWorker, ours), await Channel.on(ToWorker, theirs)
    told = []
    for broken in (OSError(errno.EIO, "cannot be read"), ValueError("unforeseen")):

        async def fails(*_, broken=broken):
            raise broken

        monkeypatch.setattr(supervisor._services.registry, "load_on_demand", fails)
        await supervisor._load_on_demand(SimpleNamespace(channel=main), AskDemand(1, "org/a", None, None))
        answer = await worker.receive()
        told.append((answer.number, answer.code))
        assert "unforeseen" not in answer.error
    assert told == [(1, "disk_unusable"), (1, "internal_error")]
    main.close()
    worker.close()


async def test_a_load_on_demand_for_which_nobody_waits_any_more_leaves_no_task(supervisor, monkeypatch):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(supervisor._services.registry, "load_on_demand", never)
    worker = WorkerProcess(number=0, process=None, channel=None, sender=None, table=None)
    for number in (1, 2):
        supervisor._hear(worker, AskDemand(number, "org/a", None, None))
    tasks = set(worker.answering.values())
    supervisor._hear(worker, Withdraw(1))
    supervisor._hear(worker, Withdraw(9))  # one that is answered already
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert set(worker.answering) == {2}
    worker.answering[2].cancel()
    await asyncio.wait(tasks)
    assert supervisor._answering == set()
