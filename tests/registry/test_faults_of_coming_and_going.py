"""Models that come and go while something fails, or is done to them at the same time."""

import asyncio
import functools

import pytest
from registry_server import RegistryServer

from ingrain.errors import ModelLoadingError, ModelMemoryError, ModelNotLoadedError
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName, RequestLimits
from ingrain.registry.memory import MemoryPolicy
from ingrain.repository.models_to_load import ModelRef
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm

A, B, C = (ModelRef(name=f"org/{letter}") for letter in "abc")
EACH = 1000  # bytes of each model in the fake engine
WAIT_S = 60

Policy = functools.partial(MemoryPolicy, estimate=lambda graph, layout: EACH)
Server = functools.partial(RegistryServer, models=())


def rest_long_ago(server, *refs):
    """Let the last requests of models be long ago."""
    for ref in refs:
        server.registry.slots.of(ref).used_at -= 1000


def state_of(server):
    return {status.name: status.state for status in server.registry.statuses()}


def embed(server, name):
    task = EmbedTexts(ModelName(name=name), Texts(texts=["red"], param="text"), VectorForm())
    return Pipeline(server.registry, None, RequestLimits()).run(task)


async def until(condition):
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_model_that_a_request_could_not_load_keeps_no_server_unready(tmp_path):
    """Nobody loads it again without a request, and a server that is not ready gets none."""
    async with Server(tmp_path, memory=Policy(on_demand=True)) as server:
        await server.registry.load(A)
        await server.registry.unload("org/a")
        server.engine.die()
        with pytest.raises(ModelLoadingError):
            await embed(server, "org/a")
        server.registry.engine_is_away()  # as /ready notes it
        server.engine.come_back()
        assert server.registry.awaited() == []


async def test_a_model_that_can_never_fit_drives_no_other_out(tmp_path):
    async with Server(tmp_path, memory=Policy(budget_bytes=2 * EACH, pinned=frozenset({"org/a"}))) as server:
        await server.registry.load(A)
        await server.registry.load(B)
        rest_long_ago(server, A, B)
        server.registry._loader.memory._estimate = lambda graph, layout: 2 * EACH  # beside the pinned model
        with pytest.raises(ModelMemoryError):
            await server.registry.load(C)
        assert state_of(server)["org/b"] == "READY"
        server.registry._loader.memory._estimate = lambda graph, layout: 3 * EACH  # more than all the memory
        with pytest.raises(ModelMemoryError, match="cannot be loaded"):
            await server.registry.load(C)
        assert state_of(server)["org/b"] == "READY"


async def test_a_request_never_converts_a_model_that_is_gone_or_stored_in_another_precision(tmp_path):
    memory = Policy(budget_bytes=EACH, on_demand=True)
    async with Server(tmp_path, memory=memory, default_precision="int8") as server:
        for ref in (A, ModelRef(name="org/b", precision="fp32")):
            await server.registry.load(ref)
            rest_long_ago(server, ref)
        await server.registry.unload("org/b")
        slot = server.registry.slots.of(A)
        slot.ref = ModelRef(name="org/a", precision="fp32")  # as it was listed before another server converted it
        converted = len(server.export.runs)
        await embed(server, "org/a")
        await server.registry.unload("org/a")
        await embed(server, "org/a")  # now it is not listed
        rest_long_ago(server, A)
        await embed(server, "org/b")  # unloads A
        await asyncio.to_thread(server.registry.repository.delete, A.key)  # as another server does
        with pytest.raises(ModelNotLoadedError):
            await embed(server, "org/a")
        assert len(server.export.runs) == converted
        assert server.registry.slots.of(A) is None


async def test_a_model_that_requests_need_while_it_is_deleted_does_not_come_back(tmp_path):
    async with Server(tmp_path, memory=Policy(on_demand=True)) as server:
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        gate, unload = asyncio.Event(), server.engine.unload

        async def held(name):
            await gate.wait()
            await unload(name)

        server.engine.unload = held
        deleting = asyncio.create_task(server.registry.delete("org/a"))
        await until(lambda: server.registry.slots.of(A) is None)
        waiting = asyncio.create_task(embed(server, "org/a"))
        await until(lambda: server.registry.slots.of(A) is not None)
        gate.set()
        await deleting
        await asyncio.wait([waiting])  # answered if it was loaded before its files were deleted, else refused
        with pytest.raises(ModelNotLoadedError):
            await embed(server, "org/a")
        assert not await server.engine.ready(graph.name)
        assert server.export.runs == [A]


async def test_two_servers_that_would_each_unload_what_the_other_loads_do_not_wait_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("ingrain.registry.loader._LOCK_WAIT_S", 0.2)
    memory = Policy(budget_bytes=EACH, on_demand=True)
    async with Server(tmp_path, memory=memory) as one, Server(tmp_path, memory=memory) as other:
        for ref in (A, B):
            await one.registry.load(ref)
            await one.registry.unload(ref.name)
        await embed(one, "org/a")
        await embed(other, "org/b")
        both = asyncio.Barrier(2)
        for server in (one, other):
            obtain = server.registry._loader.maker.obtain

            async def when_both_hold_their_locks(slot, *, as_stored, obtain=obtain):
                async with asyncio.timeout(WAIT_S):
                    await both.wait()
                return await obtain(slot, as_stored=as_stored)

            server.registry._loader.maker.obtain = when_both_hold_their_locks
        rest_long_ago(one, A)
        rest_long_ago(other, B)
        loads = [server.registry._loader.begin(ref, on_demand=True) for server, ref in ((one, B), (other, A))]
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([slot.task for slot in loads])
        for server in (one, other):  # both serve one of the two models, and at least one server keeps what it had
            assert list(state_of(server).values()).count("READY") == 1
        assert any(slot.state != "READY" for slot in loads)
        assert "another server" in next(slot.error.message for slot in loads if slot.state != "READY")


async def test_what_a_model_took_before_it_was_converted_anew_does_not_count(tmp_path):
    async with Server(tmp_path, memory=Policy(budget_bytes=2 * EACH)) as server:
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        server.engine.weights[graph.name] = 2 * EACH
        server.registry._loader.room.look()
        del server.engine.weights[graph.name]
        await server.registry.load(ModelRef(name="org/a", precision="int8"))
        await server.registry.load(ModelRef(name="org/b", pin=True))
        assert state_of(server) == {"org/a": "READY", "org/b": "READY"}


async def test_a_model_of_which_one_graph_cannot_be_loaded_takes_no_memory(tmp_path):
    async with Server(tmp_path, memory=Policy(on_demand=True)) as server:
        clip = ModelRef(name="org/clip", library="open_clip")
        await server.registry.load(clip)
        graphs = [graph.name for graph in server.registry.get("org/clip").manifest.graphs]
        assert len(graphs) == 2
        await server.registry.unload("org/clip")
        server.engine.refused.add(graphs[-1])
        with pytest.raises(ModelLoadingError, match="refuses"):
            await embed(server, "org/clip")
        assert [await server.engine.ready(name) for name in graphs] == [False, False]
