"""Workers that hang, that lack something, or that cannot be started: found out, and others serve meanwhile.

The workers are real processes; the engine of the main process, this one, is the fake, which they cannot reach: a model
that they serve answers "engine unavailable", and one that they do not know "not loaded".
"""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest

import planes
from ingrain.app.listen import open_socket
from ingrain.app.placement import placement_of
from ingrain.app.services import model_services
from ingrain.app.workers import publisher, supervisor, worker_process
from ingrain.app.workers.supervisor import Supervisor
from ingrain.engine.placement import Placement
from ingrain.errors import EngineUnavailableError
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings
from ingrain.testing.fake_engine import FakeEngine
from keys_files import entry, header, write_keys
from planes import FakeExport, make_images, make_registry

pytestmark = pytest.mark.slow

A, B = ModelRef(name="org/a"), ModelRef(name="org/b")


class Front:
    """A supervisor with its port."""

    def __init__(self, settings: Settings, placement: Placement, services: ModelServices) -> None:
        self.services = services
        self.supervisor = Supervisor(settings, placement, services, lambda: None)
        listener = open_socket("127.0.0.1", 0, "a test's port")
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.listener = listener

    async def until_up(self, count: int) -> None:
        async with asyncio.timeout(90):
            while len(self.supervisor._publisher.up()) != count:
                await asyncio.sleep(0.02)

    async def codes(self, name: str, calls: int = 4, **headers: str) -> set[str]:
        """Return the error codes that callers get, each on a connection of its own."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30, headers=headers) as client:
            body = {"name": name, "text": "red"}
            answers = await asyncio.gather(*(client.post("/embed_text", json=body) for _ in range(calls)))
        return {answer.json()["error"]["code"] for answer in answers}


@asynccontextmanager
async def running_front(root, up=2, **changes):
    settings = Settings(repository=root, workers=2, shutdown_timeout_s=2.0, **changes)
    engine, images = FakeEngine(), make_images(settings)
    registry = make_registry(root, engine, FakeExport(), images=images)
    placement = placement_of(settings)
    services = model_services(settings, placement, engine=engine, registry=registry, images=images)
    await engine.start()
    await registry.start()
    front = Front(settings, placement, services)
    await front.supervisor.start(front.listener)
    try:
        await front.until_up(up)
        yield front
    finally:
        await front.supervisor.stop(2.0)
        await registry.close()
        await engine.close()
        await images.aclose()
        await services.downloads.aclose()
    assert [child for child in psutil.Process().children() if "ingrain.app.workers.worker" in child.cmdline()] == []


async def test_a_worker_that_hangs_is_killed_and_replaced_and_a_load_waits_for_that(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_MOST_MISSED", 2)
    async with running_front(tmp_path) as front:
        hanging = front.supervisor._workers[0].process.pid
        os.kill(hanging, signal.SIGSTOP)
        async with asyncio.timeout(30):
            await front.services.registry.load(A)
            while psutil.pid_exists(hanging):
                await asyncio.sleep(0.02)
        assert await front.codes("org/a") == {"engine_unavailable"}
        await front.until_up(2)
        assert await front.codes("org/a") == {"engine_unavailable"}


async def test_a_stop_does_not_wait_for_a_worker_that_is_still_starting(tmp_path):
    async with running_front(tmp_path) as front:
        killed = front.supervisor._workers[0]
        killed.process.signal(signal.SIGKILL)
        async with asyncio.timeout(30):
            while front.supervisor._workers.get(0, killed) is killed:
                await asyncio.sleep(0)
        starting = front.supervisor._workers[0]
    assert starting.first_applied_at is None
    assert await starting.process.wait_or_kill(0) == -signal.SIGKILL


async def test_a_worker_that_hangs_gets_no_new_connections_until_it_responds_again(tmp_path):
    async with running_front(tmp_path) as front:
        hanging = front.supervisor._workers[0]
        os.kill(hanging.process.pid, signal.SIGSTOP)
        async with asyncio.timeout(30):
            while hanging.takes_connections:
                await asyncio.sleep(0.02)
            assert await front.codes("org/a", calls=8) == {"model_not_loaded"}
            os.kill(hanging.process.pid, signal.SIGCONT)
            while not hanging.takes_connections:
                await asyncio.sleep(0.02)
        assert hanging is front.supervisor._workers[0]


async def test_connections_wait_while_every_worker_hangs_and_are_served_when_one_responds_again(tmp_path):
    async with running_front(tmp_path) as front:
        pids = [worker.process.pid for worker in front.supervisor._workers.values()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(30):
            while front.supervisor._takers():
                await asyncio.sleep(0.02)
            calls = asyncio.create_task(front.codes("org/a"))
            await asyncio.sleep(0.1)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            assert await calls == {"model_not_loaded"}


async def test_a_model_that_a_worker_cannot_open_fails_the_load_and_is_opened_when_that_is_mended(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(publisher, "_OPEN_WAIT_S", 0.5)
    async with running_front(tmp_path) as front:
        registry = front.services.registry
        await registry.load(A)
        open_model = planes.open_model
        hidden = tmp_path / "hidden.json"

        def open_and_hide(entry, *rest):
            """Take the tokenizer away when the main process has opened the model, before the workers do."""
            model = open_model(entry, *rest)
            (entry.folder / "tokenizer.json").rename(hidden)
            return model

        monkeypatch.setattr(planes, "open_model", open_and_hide)
        with pytest.raises(EngineUnavailableError, match="some workers could not open it"):
            await registry.load(B)
        assert await front.codes("org/b") == {"model_loading"}
        assert await front.codes("org/a") == {"engine_unavailable"}
        folder = next(folder for folder in (tmp_path / "models").iterdir() if not (folder / "tokenizer.json").exists())
        hidden.rename(folder / "tokenizer.json")
        async with asyncio.timeout(20):
            while await front.codes("org/b") != {"engine_unavailable"}:
                await asyncio.sleep(0.1)
        assert await registry.load(B) is False


async def test_a_new_worker_that_cannot_open_one_model_soon_serves_the_others(tmp_path, monkeypatch):
    """One damaged model does not cost the place of a worker that was killed."""
    monkeypatch.setattr(publisher, "_OPEN_WAIT_S", 0.5)
    async with running_front(tmp_path) as front:
        await front.services.registry.load(A)
        await front.services.registry.load(B)
        (damaged,) = (tmp_path / "models").glob(f"{B.key}*/tokenizer.json")
        damaged.unlink()
        front.supervisor._workers[0].process.signal(signal.SIGKILL)
        await front.until_up(1)
        await front.until_up(2)
        assert await front.codes("org/a") == {"engine_unavailable"}
        assert await front.codes("org/b") <= {"engine_unavailable", "model_loading"}


async def test_keys_outlive_their_file_in_workers_that_are_started_later(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\nsecret:infer\n")
    async with running_front(tmp_path / "root", api_keys_file=file) as front:
        file.unlink()
        for worker in list(front.supervisor._workers.values()):
            worker.process.signal(signal.SIGKILL)
        await front.until_up(0)
        await front.until_up(2)
        assert await front.codes("org/a") == {"invalid_api_key"}
        assert await front.codes("org/a", authorization="Bearer secret") == {"model_not_loaded"}


async def test_named_keys_are_the_same_in_all_workers_and_follow_their_file(tmp_path):
    """A limit holds over the workers, and for a worker that is started while the file is broken."""
    file = write_keys(tmp_path / "keys.json", entry("few", requests_per_minute=20), entry("old"))
    async with running_front(tmp_path / "root", keys_file=file) as front:
        keys, named = front.services.keys_file, front.services.keys.named
        few = header("few")
        assert await front.codes("org/a", calls=20, **few) == {"model_not_loaded"}
        assert await front.codes("org/a", calls=20, **few) == {"rate_limit_exceeded"}
        write_keys(file, entry("few", requests_per_minute=20), entry("new"))
        assert keys.reload()
        named.replace(keys.known)
        async with asyncio.timeout(30):
            while await front.codes("org/a", **header("new")) != {"model_not_loaded"}:
                await asyncio.sleep(0.1)
        assert await front.codes("org/a", **header("old")) == {"invalid_api_key"}
        file.write_text("{")
        assert not keys.reload()
        await front.supervisor.totals()  # asks the workers for their counts, which a kill would lose
        for worker in list(front.supervisor._workers.values()):
            worker.process.signal(signal.SIGKILL)
        await front.until_up(0)
        await front.until_up(2)
        assert await front.codes("org/a", **header("new")) == {"model_not_loaded"}
        assert await front.codes("org/a", **few) == {"rate_limit_exceeded"}  # what was taken outlives the workers
        counts = (await front.supervisor.totals()).keys
    assert set(counts) == {"", "few", "new"}
    assert counts["few"].answers == {404: 20, 429: 24}
    assert counts["few"].refusals == {"requests_per_minute": 24}


async def test_a_model_that_another_server_loads_is_seen_by_the_workers(tmp_path):
    """A request for a model that nobody here knows makes the main process look at the shared list."""
    async with running_front(tmp_path) as front:
        assert await front.codes("org/a") == {"model_not_loaded"}
        engine = FakeEngine()
        other = make_registry(tmp_path, engine, FakeExport())
        await engine.start()
        await other.start()
        await other.load(A)
        assert await front.codes("org/a") <= {"model_loading", "engine_unavailable"}
        async with asyncio.timeout(20):
            while await front.codes("org/a") != {"engine_unavailable"}:
                await asyncio.sleep(0.1)
        await other.unload("org/a")
        async with asyncio.timeout(20):
            while await front.codes("org/a") != {"model_not_loaded"}:
                await asyncio.sleep(0.1)
        await other.close()
        await engine.close()


async def test_workers_that_cannot_be_started_are_tried_again_and_the_server_says_so(tmp_path, monkeypatch):
    command = worker_process._COMMAND
    monkeypatch.setattr(worker_process, "_COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    async with running_front(tmp_path, up=0) as front:
        async with asyncio.timeout(30):
            while front.supervisor._restarts < 5:
                await asyncio.sleep(0.05)
        assert front.supervisor.waiting_for() == "0 of 2 workers are ready."
        await front.services.registry.load(A)  # nobody serves, so nobody is waited for
        answer = asyncio.create_task(front.codes("org/a", calls=1))  # waits in the kernel meanwhile
        monkeypatch.setattr(worker_process, "_COMMAND", command)
        await front.until_up(2)
        assert front.supervisor.waiting_for() is None
        assert await answer == {"engine_unavailable"}
