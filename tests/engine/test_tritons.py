"""Several Tritons as one engine: what each has, who is asked, and what happens when they come and go.

The Tritons are real gRPC servers on the loopback, without graphs behind them; real ones are in ``tests/contract`` and
``tests/e2e``.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingrain.engine.triton.engine import TritonEngine
from ingrain.engine.tritons import keeper
from ingrain.engine.tritons.addresses import Addresses, read_targets
from ingrain.engine.tritons.attached import AttachedEngine
from ingrain.engine.tritons.engine import TritonsEngine
from ingrain.errors import EngineError, EngineUnavailableError, ModelNotLoadedError
from ingrain.repository.store import Repository
from little_triton import LittleTriton, little_graph, little_tritons
from processes import free_port

NAME, OTHER = "one-0123456789.text_encoder", "two-0123456789.text_encoder"
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SOON_S = 30


@pytest.fixture
def root(tmp_path) -> Path:
    repository = Repository(tmp_path / "repository")
    repository.prepare()
    return repository.triton


@contextlib.asynccontextmanager
async def engine_on(root: Path, setting: str, *, resolve=None, **options):
    def make(address: str) -> TritonEngine:
        return TritonEngine(address, graphs=root, start_timeout_s=0.5, watch_interval_s=0.1, as_written=True)

    targets = read_targets(setting)
    addresses = Addresses(targets) if resolve is None else Addresses(targets, resolve)
    engine = TritonsEngine(addresses, make, backend="onnxruntime", resolve_every_s=0.1, **options)
    try:
        yield engine
    finally:
        await engine.close()


def addresses_of(tritons: list[LittleTriton]) -> str:
    return ",".join(triton.address for triton in tritons)


def texts(seed: int = 0) -> dict[str, np.ndarray]:
    return {"input_ids": np.random.default_rng(seed).integers(1, 99, (2, 3))}


async def check(engine, name: str = NAME, size: int = len("first"), seed: int = 0) -> None:
    """Run a batch, and compare its rows with what a graph whose file has so many bytes answers."""
    inputs = texts(seed)
    rows = (await engine.infer(name, inputs, timeout_s=SOON_S))["sentence_embedding"]
    assert rows.tolist() == [[float(ids.sum()), float(size)] for ids in inputs["input_ids"]]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():
            await asyncio.sleep(0.02)


def asked(triton: LittleTriton, name: str = NAME) -> int:
    return triton.calls.count(f"infer {name}")


def states(engine: TritonsEngine) -> list[str]:
    return [server.state for server in engine.servers().values()]


async def test_a_graph_is_loaded_and_unloaded_everywhere_and_all_are_asked(root):
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        await engine.load(graph)
        loaded = await engine.loaded_as(NAME)
        assert (loaded.servers, loaded.max_items) == (3, 8)
        await asyncio.gather(*(check(engine, seed=seed) for seed in range(12)))
        assert [asked(triton) for triton in tritons] == [4, 4, 4]
        assert [(graph.name, graph.inference_count) for graph in await engine.statistics()] == [(NAME, 24)]
        assert {server.state for server in engine.servers().values()} == {"READY"}
        await engine.unload(NAME)
        assert [triton.models for triton in tritons] == 3 * [{}]
        assert not await engine.ready(NAME)
        with pytest.raises(ModelNotLoadedError):
            await check(engine)


async def test_one_that_is_killed_costs_no_batch_and_is_asked_again_when_it_has_its_graphs(root):
    """It starts again without any; what was loaded meanwhile comes too, and nobody above the engine is told."""
    graph, other = little_graph(root, NAME), little_graph(root, OTHER)
    told: list[str] = []
    async with little_tritons(root, *HOSTS) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        engine.on_restart(lambda: told.append("restart"))
        await engine.load(graph)
        for triton in tritons:
            triton.infer_s = 0.2
        in_flight = [asyncio.create_task(check(engine, seed=seed)) for seed in range(9)]
        await asyncio.sleep(0.1)
        await tritons[0].kill()
        await asyncio.gather(*in_flight)
        await until(lambda: states(engine) == ["UNAVAILABLE", "READY", "READY"])
        assert await engine.live()
        assert await engine.ready(NAME)
        assert (await engine.loaded_as(NAME)).servers == 2
        await engine.load(other)
        tritons[0].calls.clear()
        await tritons[0].start()
        await until(lambda: states(engine)[0] == "READY")
        assert set(tritons[0].calls) == {f"load {NAME}", f"load {OTHER}"}
        async with asyncio.timeout(SOON_S):  # one that has lost a batch rests for a second
            while not asked(tritons[0], OTHER):
                await asyncio.gather(*(check(engine, OTHER, seed=seed) for seed in range(6)))
    assert told == []


async def test_one_that_is_stopped_is_found_out_and_its_batches_run_elsewhere(root):
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS[:2]) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        await engine.load(graph)
        tritons[0].stop()
        began = time.monotonic()
        await asyncio.gather(*(check(engine, seed=seed) for seed in range(4)))
        assert time.monotonic() - began < 15
        await until(lambda: states(engine) == ["UNAVAILABLE", "READY"])
        began = time.monotonic()
        await check(engine)
        assert time.monotonic() - began < 2
        tritons[0].resume()
        await until(lambda: states(engine) == ["READY", "READY"])


async def test_one_that_was_away_gets_what_the_repository_has_now_before_it_is_asked(root):
    """It kept an older graph, and one that was unloaded; the others answer until it has the new one."""
    async with little_tritons(root, *HOSTS[:2]) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        await engine.load(little_graph(root, NAME))
        await engine.load(little_graph(root, OTHER))
        tritons[0].stop()
        await until(lambda: states(engine)[0] == "UNAVAILABLE")
        await engine.unload(OTHER)
        await engine.unload(NAME)
        await engine.load(little_graph(root, NAME, content="the second"))
        tritons[0].resume()
        checks = 0
        while states(engine)[0] != "READY" or asked(tritons[0]) < 3:
            await check(engine, size=len("the second"), seed=checks)
            checks += 1
        await until(lambda: set(tritons[0].models) == {NAME})
        calls = tritons[0].calls
        gone, come = calls.index(f"unload {OTHER}"), len(calls) - 1 - calls[::-1].index(f"load {NAME}")
        assert gone < come  # so that it never holds more than the limit of memory


@pytest.mark.parametrize("root_of_tritons", ["triton", "elsewhere"])
async def test_a_front_end_that_has_missed_the_change_does_not_ask_for_the_old_graph(root, tmp_path, root_of_tritons):
    """Another front end has loaded a graph of another content, or with another configuration, while one was away."""
    seen = root if root_of_tritons == "triton" else tmp_path / "elsewhere"
    seen.mkdir(exist_ok=True)
    for change in ({"content": "the second"}, {"content": "the second", "max_batch_size": 4}):
        async with little_tritons(seen, *HOSTS[:2]) as tritons:
            async with engine_on(root, addresses_of(tritons)) as engine:
                await engine.start()
                await engine.load(little_graph(root, NAME))
            graph = little_graph(root, NAME, **change)
            async with engine_on(root, tritons[1].address) as one, engine_on(root, addresses_of(tritons)) as engine:
                await one.start()
                await one.unload(NAME)
                await one.load(graph)
                await engine.start()
                await engine.load(graph)
                await asyncio.gather(*(check(engine, size=len("the second"), seed=seed) for seed in range(4)))
            assert tritons[0].models[NAME][0].max_batch_size == change.get("max_batch_size", 8)


async def test_a_graph_that_somebody_has_unloaded_costs_no_batch_and_comes_back(root):
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS[:2]) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        await engine.load(graph)
        tritons[0].models.clear()
        for seed in range(4):
            await check(engine, seed=seed)
        await until(lambda: NAME in tritons[0].models and states(engine) == ["READY", "READY"])
        engine.forget(NAME)  # somebody has unloaded it on purpose
        for triton in tritons:
            triton.models.clear()
        await until(lambda: [server.graphs for server in engine.servers().values()] == [0, 0])
        await asyncio.sleep(0.5)  # two looks
        assert [list(triton.models) for triton in tritons] == [[], []]


async def test_a_triton_that_cannot_load_a_graph_is_not_asked_for_it(root, monkeypatch):
    """The model is served by the others; when none can load it, the load fails."""
    monkeypatch.setattr(keeper, "_FIRST_RETRY_S", 0.2)
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS[:2]) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        tritons[0].refuses = {NAME}
        await engine.load(graph)
        assert states(engine) == ["LOADING", "READY"]
        for seed in range(4):
            await check(engine, seed=seed)
        assert asked(tritons[0]) == 0
        tritons[0].refuses = set()
        await until(lambda: states(engine) == ["READY", "READY"])
        await engine.unload(NAME)
        for triton in tritons:
            triton.refuses = {NAME}
        with pytest.raises(EngineError, match="refused to load"):
            await engine.load(graph)
        assert not await engine.ready(NAME)


async def test_all_away_is_unavailable_and_the_first_one_back_is_told_of(root):
    graph = little_graph(root, NAME)
    told: list[str] = []
    async with little_tritons(root, *HOSTS[:2]) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        engine.on_restart(lambda: told.append("restart"))
        await engine.load(graph)
        for triton in tritons:
            await triton.kill()
        with pytest.raises(EngineUnavailableError) as caught:
            await check(engine)
        assert caught.value.retry_after_s
        await until(lambda: states(engine) == ["UNAVAILABLE", "UNAVAILABLE"])
        assert not await engine.live()
        with pytest.raises(EngineUnavailableError):
            await engine.statistics()
        for triton in tritons:
            await triton.start()
        await until(lambda: states(engine) == ["READY", "READY"])
        assert told == ["restart"]
        await check(engine)


async def test_a_closed_engine_is_unavailable_and_its_batches_end(root):
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS[:2]) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        await engine.load(graph)
        for triton in tritons:
            triton.infer_s = 300
        in_flight = asyncio.create_task(check(engine))
        await until(lambda: asked(tritons[0]) + asked(tritons[1]) > 0)
        await engine.close()
        with pytest.raises(EngineUnavailableError):
            await in_flight
        assert not await engine.live()
        assert not await engine.ready(NAME)
        for call in (check(engine), engine.load(graph), engine.statistics(), engine.loaded_as(NAME)):
            with pytest.raises(EngineUnavailableError):
                await call


async def test_the_start_needs_one_and_names_all_that_do_not_answer(root):
    gone = f"127.0.0.1:{free_port()}"
    async with engine_on(root, f"{gone},127.0.0.2:1", start_timeout_s=2) as engine:
        with pytest.raises(EngineUnavailableError, match=f"None of the Tritons at {gone}, 127.0.0.2:1 answered"):
            await engine.start()
        with pytest.raises(EngineUnavailableError):
            await engine.infer(NAME, texts())
    async with little_tritons(root, "127.0.0.1") as (triton,), engine_on(root, f"{gone},{triton.address}") as engine:
        await engine.start()
        await engine.load(little_graph(root, NAME))
        await check(engine)
        assert states(engine) == ["UNAVAILABLE", "READY"]


async def test_tritons_that_appear_and_vanish_behind_a_name(root):
    """A new one is asked when it has the graphs; one that vanishes finishes its batches, and is left."""
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS) as tritons:
        behind = [tritons[0].address, tritons[1].address]

        async def look_up(host: str, port: int) -> list[str]:
            return behind

        port = tritons[0].address.rpartition(":")[2]
        async with engine_on(root, f"tritons:{port}", resolve=look_up) as engine:
            await engine.start()
            await engine.load(graph)
            assert list(engine.servers()) == behind
            tritons[0].infer_s = 0.5
            in_flight = asyncio.gather(*(check(engine, seed=seed) for seed in range(4)))
            await until(lambda: asked(tritons[0]) == asked(tritons[1]) == 2)
            behind = [tritons[1].address, tritons[2].address]
            await until(lambda: list(engine.servers()) == behind)
            await in_flight
            await until(lambda: states(engine) == ["READY", "READY"])
            await asyncio.gather(*(check(engine, seed=seed) for seed in range(6)))
            assert asked(tritons[0]) == 2
            assert asked(tritons[2]) == 3
            assert tritons[2].calls[0] == f"load {NAME}"


async def test_a_model_is_loaded_into_as_many_as_the_setting_says_and_another_one_steps_in(root, monkeypatch):
    monkeypatch.setattr(keeper, "_SURPLUS_S", 0.3)
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS) as tritons, engine_on(root, addresses_of(tritons), replicas=1) as engine:
        await engine.start()
        await engine.load(graph)
        (first,) = (triton for triton in tritons if NAME in triton.models)
        assert states(engine) == ["READY", "READY", "READY"]
        await check(engine)
        await first.kill()
        await until(lambda: sum(NAME in triton.models for triton in tritons) == 1)
        await until(lambda: any(NAME in address.graphs for address in engine.addresses))
        await check(engine)
        await first.start()
        await until(lambda: [triton for triton in tritons if NAME in triton.models] == [first])
        await check(engine)


async def test_workers_ask_the_tritons_that_the_main_process_names(root):
    """Each on connections of its own; those of a Triton that is no more named are closed."""
    graph = little_graph(root, NAME)
    async with little_tritons(root, *HOSTS[:2]) as tritons, engine_on(root, addresses_of(tritons)) as engine:
        await engine.start()
        await engine.load(graph)
        worker = AttachedEngine(instances=1, statistics=engine.statistics)
        with pytest.raises(EngineUnavailableError):
            await check(worker)
        worker.attach(engine.addresses)
        for seed in range(4):
            await check(worker, seed=seed)
        assert [asked(triton) for triton in tritons] == [2, 2]
        await tritons[0].kill()
        for seed in range(4):
            await check(worker, seed=seed)  # the main process has not named others yet
        assert sum(server.lost for server in worker.servers().values()) == 1
        await until(lambda: len(engine.addresses) == 1)
        worker.attach(engine.addresses)
        assert list(worker.servers()) == [tritons[1].address]
        await check(worker)
        with pytest.raises(EngineUnavailableError):
            await check(worker, OTHER)
        await worker.close()
        assert not await worker.live()
