"""The registry: what should be loaded is, whatever restarts, and processes that share a repository agree."""

import asyncio
import functools
import time

import msgspec
import pytest
from registry_server import RegistryServer

from ingrain.errors import (
    EngineError,
    ModelConflictError,
    ModelLoadingError,
    ModelNotLoadedError,
    SourceUnavailableError,
)
from ingrain.registry import models_to_load as desired
from ingrain.repository.models_to_load import ModelRef, read_desired

A, B = ModelRef(name="org/a"), ModelRef(name="org/b")

Server = functools.partial(RegistryServer, models=None)


async def test_what_was_loaded_is_loaded_again_after_a_restart(tmp_path):
    async with Server(tmp_path) as first:
        await first.registry.start()
        await first.registry.load(A)
        await first.registry.load(B)
        await first.registry.unload("org/b")
    async with Server(tmp_path) as second:
        await second.registry.start()
        await second.until_ready("org/a")
        assert second.export.runs == []
        with pytest.raises(ModelNotLoadedError):
            second.registry.get("org/b")


async def test_models_given_at_start_are_loaded_and_remembered(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.start([A])
        await server.until_ready("org/a")
    assert read_desired(tmp_path) == (A,)


async def test_an_engine_that_comes_back_empty_gets_its_models_again(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.start()
        await server.registry.load(A)
        model = server.registry.get("org/a")
        server.engine.die()
        server.engine.come_back()
        await server.until_ready("org/a")
        assert len(server.engine.loads) == 2
        assert server.registry.get("org/a") is model


async def test_a_model_that_the_engine_lost_by_itself_is_loaded_again(tmp_path):
    """A Triton in which somebody unloaded our model gets it back when a call has found it missing."""
    async with Server(tmp_path) as server:
        await server.registry.start()
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        await server.engine.unload(graph.name)
        server.registry.suspect()
        async with asyncio.timeout(60):
            while not await server.engine.ready(graph.name):
                await asyncio.sleep(0.01)


async def test_processes_that_share_a_repository_follow_each_other(tmp_path):
    async with Server(tmp_path) as one, Server(tmp_path) as two:
        await one.registry.start()
        await two.registry.start()
        await one.registry.load(A)
        await two.until_ready("org/a")
        assert two.export.runs == []
        await two.registry.unload("org/a")
        await one.registry.refresh()
        with pytest.raises(ModelNotLoadedError):
            one.registry.get("org/a")


async def test_a_caller_who_looks_while_another_reads_the_list_sees_it_too(tmp_path, monkeypatch):
    """On a slow disk, the second of two requests for a model that another process has just loaded is not a 404."""

    def slowly(root):
        time.sleep(0.2)
        return read_desired(root)

    async with Server(tmp_path) as one, Server(tmp_path) as two:
        await one.registry.start()
        await two.registry.start()
        await one.registry.load(A)

        monkeypatch.setattr(desired, "read_desired", slowly)
        first = asyncio.create_task(two.registry.refresh())
        await asyncio.sleep(0.1)
        await two.registry.refresh()
        assert [status.name for status in two.registry.statuses()] == ["org/a"]
        assert await first


async def test_a_model_that_another_process_unloaded_is_not_loaded_again(tmp_path):
    """A front end that finds a graph gone asks the repository first whether it should still be there."""
    async with Server(tmp_path) as one, Server(tmp_path) as two:
        await one.registry.start()
        await two.registry.start()
        await one.registry.load(A)
        await two.until_ready("org/a")
        (graph,) = two.registry.get("org/a").manifest.graphs
        await one.registry.unload("org/a")
        await two.engine.unload(graph.name)
        two.registry.suspect()
        await asyncio.sleep(0.3)
        assert not await two.engine.ready(graph.name)
        assert read_desired(tmp_path) == ()


async def test_a_model_given_at_start_is_tried_again_when_its_source_was_away(tmp_path):
    async with Server(tmp_path) as server:
        server.export.error = SourceUnavailableError("The hub does not answer.")
        await server.registry.start([A])
        await asyncio.sleep(0.1)
        (status,) = server.registry.statuses()
        assert (status.state, status.reason) == ("UNAVAILABLE", "The hub does not answer.")
        server.export.error = None
        await server.until_ready("org/a")


async def test_a_graph_that_the_engine_refuses_is_reported_and_not_remembered(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.start()
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        await server.registry.unload("org/a")
        server.engine.refused.add(graph.name)
        with pytest.raises(EngineError):
            await server.registry.load(A)
        assert server.registry.statuses() == []
        assert read_desired(tmp_path) == ()


async def test_a_damaged_entry_is_made_again(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.start()
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        await server.registry.unload("org/a")
        server.registry.repository.locate_graph(graph).write_bytes(b"rotten")
        await server.registry.load(A)
        assert server.export.runs == [A, msgspec.structs.replace(A, precision="fp32", task="embed")]  # as stored


async def test_a_caller_who_goes_away_does_not_stop_the_load(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.start()
        server.export.hold = asyncio.Event()
        caller = asyncio.create_task(server.registry.load(A))
        await asyncio.sleep(0.02)
        caller.cancel()
        server.export.hold.set()
        await server.until_ready("org/a")


async def test_weights_of_one_name_are_told_apart_by_their_tag(tmp_path):
    tags = [ModelRef(name="ViT-B-32", library="open_clip", pretrained=tag) for tag in ("openai", "laion")]
    async with Server(tmp_path) as server:
        await server.registry.start()
        for ref in tags:
            await server.registry.load(ref)
        for ref in tags:
            assert server.registry.get("ViT-B-32", pretrained=ref.pretrained).manifest.pretrained == ref.pretrained
        with pytest.raises(Exception, match="pretrained"):
            server.registry.get("ViT-B-32")
        await server.registry.unload("ViT-B-32", pretrained="openai")
        assert server.registry.get("ViT-B-32").manifest.pretrained == "laion"


async def test_closing_leaves_no_task_behind(tmp_path):
    async with Server(tmp_path) as server:
        server.export.hold = asyncio.Event()
        await server.registry.start([A])
        await asyncio.sleep(0.02)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert list((tmp_path / "staging").iterdir()) == []


async def test_two_processes_that_load_one_model_export_it_once(tmp_path):
    async with Server(tmp_path) as one, Server(tmp_path) as two:
        await one.registry.start()
        await two.registry.start()
        one.export.hold = two.export.hold = asyncio.Event()
        loads = [asyncio.create_task(server.registry.load(A)) for server in (one, two)]
        await asyncio.sleep(0.2)
        one.export.hold.set()
        await asyncio.gather(*loads)
        assert len(one.export.runs) + len(two.export.runs) == 1


async def test_a_load_during_an_unload_wins(tmp_path):
    """Whatever the order of their steps, a load that comes after an unload leaves the model loaded and listed."""
    async with Server(tmp_path) as server:
        await server.registry.start()
        for _ in range(10):
            await server.registry.load(A)
            unload = asyncio.create_task(server.registry.unload("org/a"))
            while server.registry.statuses():
                await asyncio.sleep(0)
            await asyncio.gather(unload, server.registry.load(A))
            (graph,) = server.registry.get("org/a").manifest.graphs
            assert await server.engine.ready(graph.name)
            assert read_desired(tmp_path) == (A,)


async def test_followers_swap_models_within_their_limit(tmp_path):
    """Where only one model may be loaded, a follower drops the old one before it takes the new one."""
    async with Server(tmp_path, max_loaded_models=1) as one, Server(tmp_path, max_loaded_models=1) as two:
        await one.registry.start()
        await two.registry.start()
        await one.registry.load(A)
        await two.until_ready("org/a")
        (graph,) = two.registry.get("org/a").manifest.graphs
        await one.registry.unload("org/a")
        await one.registry.load(B)
        await two.until_ready("org/b")
        async with asyncio.timeout(60):
            while await two.engine.ready(graph.name):
                await asyncio.sleep(0.01)


async def test_unloading_and_deleting_look_at_the_shared_list_first(tmp_path):
    async with Server(tmp_path) as one, Server(tmp_path) as two:
        await one.registry.start()
        await two.registry.start()
        await one.registry.load(A)
        await two.registry.delete("org/a")
        assert read_desired(tmp_path) == ()
        await one.registry.load(B)
        await two.registry.unload("org/b")
        await asyncio.sleep(0.1)
        assert two.export.runs == []


async def test_before_the_start_a_model_is_on_its_way(tmp_path):
    async with Server(tmp_path) as server:
        with pytest.raises(ModelLoadingError):
            server.registry.get("org/a")


async def test_another_revision_is_told_even_while_the_first_is_loading(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.start()
        server.export.hold = asyncio.Event()
        first = asyncio.create_task(server.registry.load(ModelRef(name="org/a", revision="v1")))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(server.registry.load(ModelRef(name="org/a", revision="v2")))
        await asyncio.sleep(0.02)
        server.export.hold.set()
        await first
        with pytest.raises(ModelConflictError):
            await second
