"""Models within a limit of memory: which one goes, which stay, and how one comes back for a request."""

import asyncio
import functools

import pytest
from registry_server import RegistryServer

from ingrain.errors import (
    ModelLoadingError,
    ModelMemoryError,
    ModelNotLoadedError,
)
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName, RequestLimits
from ingrain.registry.memory import MemoryPolicy
from ingrain.repository.models_to_load import ModelRef, read_desired
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm
from ingrain.testing.fake_engine import FakeEngine

A, B, C = (ModelRef(name=f"org/{letter}") for letter in "abc")
EACH = 1000  # bytes of each model in the fake engine
WAIT_S = 60

Policy = functools.partial(MemoryPolicy, estimate=lambda graph, layout: EACH)
Server = functools.partial(RegistryServer, models=None)


def two_fit(**fields):
    return Policy(budget_bytes=2 * EACH, **fields)


def slot_of(server, ref):
    return server.registry.slots.of(ref)


def rest_long_ago(server, *refs):
    """Let the last requests of models be long ago, the first model's longest."""
    for place, ref in enumerate(refs):
        slot_of(server, ref).used_at -= 1000 - place


def state_of(server):
    return {status.name: status.state for status in server.registry.statuses()}


def pipeline_of(server, **limits):
    return Pipeline(server.registry, None, RequestLimits(**limits))


def embed(server, name, text="red green", **limits):
    task = EmbedTexts(ModelName(name=name), Texts(texts=[text], param="text"), VectorForm())
    return pipeline_of(server, **limits).run(task)


async def until(condition):
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_model_that_was_not_used_for_longest_makes_room_and_stays_in_the_list(tmp_path):
    async with Server(tmp_path, memory=two_fit()) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.load(B)
        rest_long_ago(server, B, A)
        await server.registry.load(C)
        assert state_of(server) == {"org/a": "READY", "org/b": "UNAVAILABLE", "org/c": "READY"}
        assert read_desired(tmp_path) == (A, B, C)
        with pytest.raises(ModelNotLoadedError, match="made room"):
            server.registry.get("org/b")
        (gone,) = [status for status in server.registry.statuses() if status.name == "org/b"]
        assert (gone.memory_bytes, gone.is_resting) == (None, True)


async def test_a_refusal_tells_what_is_loaded_and_a_pinned_model_never_goes(tmp_path):
    async with Server(tmp_path, memory=two_fit(pinned=frozenset({"org/a"}))) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.load(ModelRef(name="org/b", pin=True))
        rest_long_ago(server, A, B)
        with pytest.raises(ModelMemoryError, match="of which 2 models have") as refused:
            await server.registry.load(C)
        assert "org/a" not in refused.value.message  # which is kept with the model, for keys that may not see org/a
        assert refused.value.facts["loadedModels"] == ["org/a", "org/b"]
        assert state_of(server) == {"org/a": "READY", "org/b": "READY"}
        await server.registry.load(ModelRef(name="org/b", pin=False))
        await server.registry.load(C)
        assert state_of(server)["org/b"] == "UNAVAILABLE"


async def test_never_evicting_refuses_and_so_does_a_model_larger_than_all_the_memory(tmp_path):
    async with Server(tmp_path, memory=Policy(budget_bytes=EACH, evicts=False)) as server:
        await server.registry.start()
        await server.registry.load(A)
        rest_long_ago(server, A)
        with pytest.raises(ModelMemoryError, match="Unload one"):
            await server.registry.load(B)
        await server.registry.unload("org/a")
        await server.registry.load(B)
    async with Server(tmp_path / "other", memory=Policy(budget_bytes=EACH - 1)) as server:
        await server.registry.start()
        with pytest.raises(ModelMemoryError) as refused:
            await server.registry.load(A)
        assert refused.value.facts["neededBytes"] == EACH


async def test_what_a_model_was_measured_to_take_counts_when_it_comes_back(tmp_path):
    async with Server(tmp_path, memory=Policy(budget_bytes=3 * EACH)) as server:
        await server.registry.start()
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        server.engine.weights[graph.name] = 3 * EACH
        await server.registry.load(B)  # A has not told yet that it has grown
        rest_long_ago(server, B, A)
        server.registry._loader.room.look()
        await until(lambda: state_of(server)["org/b"] == "UNAVAILABLE")
        rest_long_ago(server, A)
        await server.registry.load(B)
        assert state_of(server) == {"org/a": "UNAVAILABLE", "org/b": "READY"}


async def test_a_request_loads_a_stored_model_which_is_not_listed_until_a_command_loads_it(tmp_path):
    async with Server(tmp_path, memory=two_fit(on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.unload("org/a")
        assert len((await embed(server, "org/a")).vectors) == 1
        assert read_desired(tmp_path) == ()
        assert not await server.registry.load(A)
        assert read_desired(tmp_path) == (A,)
        with pytest.raises(ModelNotLoadedError):
            await embed(server, "org/absent")
        assert server.export.runs == [A]


async def test_requests_that_wait_share_one_load_and_are_all_answered(tmp_path):
    async with Server(tmp_path, memory=Policy(budget_bytes=EACH, on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.load(B)  # A makes room
        rest_long_ago(server, B)
        before = len(server.engine.loads)
        answers = await asyncio.gather(*(embed(server, "org/a", f"w{n}") for n in range(20)))
        assert len(answers) == 20
        assert len(server.engine.loads) == before + 1
        assert server.registry.moves() == {"room": 2, "demand": 1}


async def test_two_models_in_the_room_of_one_take_turns_and_every_request_is_answered(tmp_path):
    async with Server(tmp_path, memory=Policy(budget_bytes=EACH, on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.load(B)
        rest_long_ago(server, B)
        most = 0

        async def client(name):
            nonlocal most
            for number in range(3):
                await embed(server, name, f"w{number}")
                most = max(most, sum([await server.engine.ready(graph) for graph in set(server.engine.loads)]))

        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(client("org/a"), client("org/b"))
        assert most == 1


async def test_a_model_with_requests_does_not_go_and_they_are_answered(tmp_path):
    engine = FakeEngine()
    async with Server(tmp_path, engine=engine, memory=Policy(budget_bytes=EACH, on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        has_begun, gate, infer = asyncio.Event(), asyncio.Event(), engine.infer

        async def held(*arguments, **options):
            has_begun.set()
            await gate.wait()
            return await infer(*arguments, **options)

        engine.infer = held
        running = asyncio.create_task(embed(server, "org/a"))
        await has_begun.wait()
        rest_long_ago(server, A)
        loading = asyncio.create_task(server.registry.load(B))
        await until(server.registry._loader.room._turn.locked)
        await asyncio.sleep(0.1)
        assert state_of(server)["org/a"] == "READY"
        gate.set()
        assert len((await running).vectors) == 1
        await loading
        assert state_of(server) == {"org/a": "UNAVAILABLE", "org/b": "READY"}


async def test_a_request_during_the_unloading_waits_or_may_try_again(tmp_path):
    engine = FakeEngine()
    async with Server(tmp_path, engine=engine, memory=Policy(budget_bytes=EACH)) as server:
        await server.registry.start()
        await server.registry.load(A)
        gate, unload = asyncio.Event(), engine.unload

        async def held(name):
            await gate.wait()
            await unload(name)

        engine.unload = held
        rest_long_ago(server, A)
        loading = asyncio.create_task(server.registry.load(B))
        await until(lambda: state_of(server)["org/a"] == "UNLOADING")
        with pytest.raises(ModelLoadingError) as refused:
            await embed(server, "org/a")
        assert refused.value.retry_after_s
        server.registry.loads_on_demand = True
        waiting = asyncio.create_task(embed(server, "org/a"))
        gate.set()
        await loading
        rest_long_ago(server, B)
        assert len((await waiting).vectors) == 1


async def test_after_a_restart_only_what_fits_is_loaded_pinned_models_and_the_newest_first(tmp_path):
    async with Server(tmp_path) as first:
        await first.registry.start()
        await first.registry.load(ModelRef(name="org/a", pin=True))
        await first.registry.load(B)
        await first.registry.load(C)
    async with Server(tmp_path, memory=two_fit(on_demand=True)) as second:
        await second.registry.start()
        assert second.registry.awaited()
        await second.until_ready("org/a")
        await second.until_ready("org/c")
        assert state_of(second) == {"org/a": "READY", "org/b": "UNAVAILABLE", "org/c": "READY"}
        assert not second.registry.awaited()
        rest_long_ago(second, A, C)
        await embed(second, "org/b")
        assert state_of(second)["org/c"] == "UNAVAILABLE"
        await second.registry.unload("org/c")
        assert [ref.name for ref in read_desired(tmp_path)] == ["org/a", "org/b"]


async def test_idle_models_go_unless_they_are_pinned_or_kept(tmp_path):
    async with Server(tmp_path, memory=Policy(keep_alive_s=500, on_demand=True)) as server:
        await server.registry.start()
        for ref in (A, ModelRef(name="org/b", keep_alive_s=-1), ModelRef(name="org/c", pin=True)):
            await server.registry.load(ref)
        server.registry._loader.room.look()
        assert set(state_of(server).values()) == {"READY"}
        rest_long_ago(server, A, B, C)
        server.registry._loader.room.look()
        await until(lambda: state_of(server)["org/a"] == "UNAVAILABLE")
        assert state_of(server) == {"org/a": "UNAVAILABLE", "org/b": "READY", "org/c": "READY"}
        await embed(server, "org/a")
        assert state_of(server)["org/a"] == "READY"


async def test_loads_that_do_not_fit_together_run_one_after_the_other(tmp_path):
    engine = FakeEngine()
    async with Server(tmp_path, engine=engine, memory=Policy(budget_bytes=EACH, on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.unload("org/a")
        gate, load = asyncio.Event(), engine.load
        at_once = most = 0

        async def held(graph, layout=None):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await gate.wait()
            await load(graph, layout)
            at_once -= 1

        engine.load = held
        loads = [asyncio.create_task(server.registry.load(ref)) for ref in (A, B)]
        await until(lambda: at_once)
        gate.set()
        await asyncio.gather(*loads)
        assert most == 1
        assert sorted(state_of(server).values()) == ["READY", "UNAVAILABLE"]


async def test_a_request_that_waits_too_long_may_try_again_and_the_load_goes_on(tmp_path):
    engine = FakeEngine()
    async with Server(tmp_path, engine=engine, memory=two_fit(on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.unload("org/a")
        gate, load = asyncio.Event(), engine.load

        async def held(graph, layout=None):
            await gate.wait()
            await load(graph, layout)

        engine.load = held
        with pytest.raises(ModelLoadingError) as refused:
            await embed(server, "org/a", timeout_s=0.2)
        assert refused.value.retry_after_s
        gate.set()
        assert len((await embed(server, "org/a")).vectors) == 1
        assert len(engine.loads) == 2


async def test_a_model_that_cannot_be_loaded_on_demand_is_not_tried_for_every_request(tmp_path):
    async with Server(tmp_path, memory=two_fit(on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        await server.registry.unload("org/a")
        server.engine.refused.add(graph.name)
        tried = 0
        for _ in range(3):
            with pytest.raises(ModelLoadingError, match="refuses"):
                await embed(server, "org/a")
            tried = server.registry.moves()["demand"]
        assert tried == 1
        assert slot_of(server, A).is_resting
        server.engine.refused.clear()
        slot_of(server, A).retry_at = 0.0
        assert len((await embed(server, "org/a")).vectors) == 1


async def test_the_engine_coming_back_brings_back_only_what_was_loaded(tmp_path):
    async with Server(tmp_path, memory=two_fit(on_demand=True)) as server:
        await server.registry.start()
        for ref in (A, B):
            await server.registry.load(ref)
        rest_long_ago(server, A, B)
        await server.registry.load(C)
        server.engine.die()
        server.engine.come_back()
        assert len((await embed(server, "org/c")).vectors) == 1
        await server.until_ready("org/b")
        assert state_of(server) == {"org/a": "UNAVAILABLE", "org/b": "READY", "org/c": "READY"}


async def test_a_command_for_a_model_that_is_being_unloaded_loads_it_again(tmp_path):
    async with Server(tmp_path, memory=Policy(keep_alive_s=500)) as server:
        await server.registry.start()
        await server.registry.load(A)
        rest_long_ago(server, A)
        server.registry._loader.room.look()
        assert state_of(server)["org/a"] == "UNLOADING"
        assert await server.registry.load(A)
        server.registry.get("org/a")


class SharedEngine(FakeEngine):
    """A fake engine that several servers use, and that loads again by itself what it is not told to forget."""

    def __init__(self):
        super().__init__()
        self.hold = None
        self.forgotten = []

    def forget(self, name):
        self.forgotten.append(name)

    async def loaded_as(self, name):
        return None


async def test_a_model_that_another_server_has_unloaded_in_a_shared_engine_is_not_loaded_in_turn(tmp_path):
    """Two servers on one Triton: if each loaded again what the other unloads, they would do so without end."""
    engine = SharedEngine()
    async with Server(tmp_path, engine=engine, memory=two_fit(on_demand=True)) as server:
        await server.registry.start()
        for ref in (A, B):
            await server.registry.load(ref)
        (graph,) = server.registry.get("org/a").manifest.graphs
        await engine.unload(graph.name)  # as the other server does
        server.registry.suspect()
        await until(lambda: state_of(server)["org/a"] == "UNAVAILABLE")
        assert state_of(server)["org/b"] == "READY"
        assert not await engine.ready(graph.name)
        assert engine.forgotten == [graph.name]
        assert len((await embed(server, "org/a")).vectors) == 1


async def test_a_listed_model_that_a_request_could_not_load_is_left_to_the_next_request(tmp_path):
    """The server itself does not try again and again to load a model into room that others use."""
    async with Server(tmp_path, memory=Policy(budget_bytes=EACH, on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        rest_long_ago(server, A)
        await server.registry.load(B)
        rest_long_ago(server, B)
        server.engine.refused.add(graph.name)
        with pytest.raises(ModelLoadingError, match="refuses"):
            await embed(server, "org/a")
        assert read_desired(tmp_path) == (A, B)
        assert slot_of(server, A).is_resting
        assert len((await embed(server, "org/b")).vectors) == 1


async def test_a_command_that_is_taken_back_leaves_a_listed_model_at_rest_as_it_was(tmp_path):
    async with Server(tmp_path, memory=two_fit()) as server:
        await server.registry.start()
        for ref in (A, B):
            await server.registry.load(ref)
        rest_long_ago(server, B, A)
        await server.registry.load(C)
        rested = slot_of(server, B)
        why = rested.error
        gate, load = asyncio.Event(), server.engine.load

        async def held(graph, layout=None):
            gate.set()
            await asyncio.Event().wait()

        server.engine.load = held
        rest_long_ago(server, A, C)
        pinned = ModelRef(name="org/b", pin=True)
        loading = asyncio.create_task(server.registry.load(pinned))
        async with asyncio.timeout(WAIT_S):
            await gate.wait()
        assert await server.registry.stop_loading(pinned)
        with pytest.raises(ModelNotLoadedError):
            await loading
        assert slot_of(server, B) is rested
        assert (rested.ref, rested.error, rested.is_resting, rested.state) == (B, why, True, "UNAVAILABLE")
        assert read_desired(tmp_path) == (A, B, C)
        server.engine.load = load
        await server.registry.load(B)
        assert state_of(server)["org/b"] == "READY"


async def test_a_stored_model_is_loaded_by_its_name_with_ollamas_tag(tmp_path):
    async with Server(tmp_path, memory=Policy(on_demand=True)) as server:
        await server.registry.start()
        await server.registry.load(A)
        await server.registry.unload("org/a")
        await embed(server, "org/a:latest")
        assert state_of(server) == {"org/a": "READY"}


async def test_unknown_names_cost_no_look_at_the_models_of_the_repository(tmp_path, monkeypatch):
    async with Server(tmp_path, memory=Policy(on_demand=True)) as server:
        await server.registry.start()
        for ref in (A, B):
            await server.registry.load(ref)
            await server.registry.unload(ref.name)
        find, found = server.registry.repository.find, []
        monkeypatch.setattr(server.registry.repository, "find", lambda key: found.append(key) or find(key))
        for number in range(5):
            with pytest.raises(ModelNotLoadedError):
                await embed(server, f"org/unknown-{number}")
        assert sorted(found) == sorted([A.key, B.key])  # read once, for their names
        await embed(server, "org/b")
        assert state_of(server) == {"org/b": "READY"}
