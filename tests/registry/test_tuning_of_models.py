"""Tuning a model: what is found is kept and holds, and whatever goes wrong leaves the model as it was."""

import asyncio
import dataclasses

import msgspec
import pytest
from registry_server import RegistryServer

from ingrain.errors import (
    DiskFullError,
    EngineUnavailableError,
    InvalidRequestError,
    ModelConflictError,
    ModelLoadingError,
    ModelNotLoadedError,
    TuningError,
    TuningInProgressError,
)
from ingrain.models.loaded import open_model
from ingrain.models.queues import QueueLimits
from ingrain.registry.follower import FollowedRegistry
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.tuning import Execution, Layout
from ingrain.settings import Settings
from ingrain.testing.fake_engine import FakeEngine
from planes import hold_layout, make_images, make_place

A, B = ModelRef(name="org/a"), ModelRef(name="org/b")
DEFAULT, OTHER = Layout(2, 1), Layout(1, 2)


def cost(layout: Layout, shape) -> float:
    """Return the seconds of a batch, so that one copy of two threads does four times what two of one thread do."""
    return 0.0025 if layout == OTHER else 0.02


class Refusing(FakeEngine):
    """Has no memory for the other layout."""

    async def load(self, graph, layout=None) -> None:
        if layout == OTHER:
            raise EngineUnavailableError("no memory for it")
        await super().load(graph, layout)


class Server(RegistryServer):
    """A registry whose engine is four times as fast with one copy of two threads, by a clock that only batches move."""

    def __init__(self, root, engine=None, **changes) -> None:
        engine = engine or FakeEngine(instances=2)
        engine.batch_s = cost
        super().__init__(root, engine=engine, clock=lambda: engine.computed_s, tune_seconds=1.0, **changes)

    async def tune(self, name: str = "org/a"):
        return await self.registry.tune(name)

    def layout(self, name: str = "org/a") -> Layout:
        (graph,) = self.registry.get(name).manifest.graphs
        return self.engine.layouts[graph.name]

    async def embed(self, name: str = "org/a"):
        model = self.registry.get(name)
        return await model.queues["text_encoder"].submit(model.text.encode(["red green"]), timeout_s=10)

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)

    async def until_tuning(self) -> None:
        """Wait until the sweep has loaded the other layout."""
        await self.until(lambda: self.registry.progress() and OTHER in self.engine.layouts.values())

    async def until_held(self) -> None:
        """Wait until the sweep is about to load the other layout, which is held."""
        await self.until(lambda: self.registry.progress() and self.registry.statuses()[0].state == "LOADING")

    async def until_served(self, name: str = "org/a") -> None:
        await self.until(lambda: any(s.name == name and s.state == "READY" for s in self.registry.statuses()))


async def test_what_is_fastest_is_found_kept_and_in_force(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        assert server.layout() == DEFAULT
        manifest = await server.tune()
        (tuning,) = manifest.tunings
        (found,) = tuning.graphs
        assert (found.default.layout, found.chosen.layout) == (DEFAULT, OTHER)
        assert {point.execution.layout: point.ratio for point in found.curve if point.step == "layout"}[OTHER] == 4.0
        # A batch of this engine takes as long whatever its size: texts of all lengths share batches.
        assert found.chosen.overhead_tokens == 4096
        assert found.ratio > 4.0
        assert server.layout() == OTHER
        assert server.registry.get("org/a").manifest == manifest
        assert (await server.embed()).shape == (1, 8)
        assert (await server.registry.manifest("org/a")).tunings == (tuning,)


async def test_a_tuning_holds_when_the_model_is_loaded_again_and_when_the_server_starts_again(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        await server.tune()
        await server.registry.unload("org/a")
        await server.registry.load(A)
        assert server.layout() == OTHER
        assert server.registry.get("org/a").queues["text_encoder"]._in_flight == 2
    async with Server(tmp_path) as again:
        await again.until_served()
        assert again.layout() == OTHER
    async with Server(tmp_path, place=make_place(cores=64)) as elsewhere:
        await elsewhere.until_served()
        assert elsewhere.layout() == DEFAULT
    async with Server(tmp_path, place=make_place(given={"MODEL_INSTANCES": 2})) as set_by_hand:
        await set_by_hand.until_served()
        assert set_by_hand.layout() == DEFAULT


async def test_the_queue_follows_and_what_it_has_counted_stays(tmp_path):
    """Limits and batches in flight change under the queue that is there: nothing is lost, no count goes back."""
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        queue = server.registry.get("org/a").queues["text_encoder"]
        await server.embed()
        assert (queue._in_flight, queue.statistics.batches) == (3, 1)
        await server.tune()
        assert server.registry.get("org/a").queues["text_encoder"] is queue
        assert (queue._in_flight, queue.statistics.batches) == (2, 1)


async def test_a_sweep_is_not_in_the_statistics_and_earlier_counts_stay(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        for _ in range(3):
            await server.embed()
        await server.tune()
        (told,) = await server.registry.statistics()
        assert (told.inference_count, told.execution_count) == (3, 3)
        await server.embed()
        (told,) = await server.registry.statistics()
        assert (told.inference_count, told.durations["success"].count) == (4, 4)
        await server.registry.unload("org/a")
        await server.registry.load(A)
        (told,) = await server.registry.statistics()
        assert told.inference_count == 0


async def test_requests_are_told_to_come_again_while_the_layout_changes(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        gate = hold_layout(server.engine, OTHER)
        tuning = asyncio.create_task(server.tune())
        await server.until_held()
        with pytest.raises(ModelLoadingError, match=r"tuned \(\d+ %\)") as refused:
            server.registry.get("org/a")
        assert refused.value.retry_after_s
        gate.set()
        await tuning


async def test_requests_are_served_while_only_batches_differ(tmp_path):
    """With the layout set by hand the graph is never unloaded, and the model never stops to serve."""
    place = make_place(given={"MODEL_INSTANCES": 2})
    async with Server(tmp_path, place=place) as server:
        server.engine.latency_s = 0.002
        await server.registry.load(A)
        tuning = asyncio.create_task(server.tune())
        answers = 0
        while not tuning.done():
            assert (await server.embed()).shape == (1, 8)
            answers += 1
        assert answers > 3
        assert len(server.engine.loads) == 1
        (found,) = (await tuning).tunings[0].graphs
        assert {point.step for point in found.curve} <= {"tokens", "items", "check"}


async def test_one_model_is_tuned_at_a_time_and_none_twice_at_once(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        await server.registry.load(B)
        gate = hold_layout(server.engine, OTHER)
        first = asyncio.create_task(server.tune())
        second = asyncio.create_task(server.tune("org/b"))
        await server.until_held()
        assert [name for name, _ in server.registry.progress()] == ["org/a"]
        server.registry.get("org/b")
        for name in ("org/a", "org/b"):
            with pytest.raises(TuningInProgressError):
                await server.tune(name)
            with pytest.raises(TuningInProgressError):
                await server.registry.reset_tuning(name)
        gate.set()
        await asyncio.gather(first, second)
        assert server.layout() == server.layout("org/b") == OTHER


async def test_unloading_a_model_that_waits_for_its_turn_ends_its_tuning_at_once(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        await server.registry.load(B)
        gate = hold_layout(server.engine, OTHER)
        first = asyncio.create_task(server.tune())
        second = asyncio.create_task(server.tune("org/b"))
        await server.until_held()
        await server.registry.unload("org/b")
        with pytest.raises(ModelNotLoadedError):
            await asyncio.wait_for(second, 10)
        gate.set()
        await first
        with pytest.raises(ModelNotLoadedError):
            server.registry.get("org/b")


async def test_a_reset_brings_the_defaults_back_loaded_or_not(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        assert not await server.registry.reset_tuning("org/a")
        await server.tune()
        assert await server.registry.reset_tuning("org/a")
        assert server.layout() == DEFAULT
        assert server.registry.get("org/a").manifest.tunings == ()
        await server.embed()
        await server.tune()
        await server.registry.unload("org/a")
        assert await server.registry.reset_tuning("org/a")
        await server.registry.load(A)
        assert server.layout() == DEFAULT


async def test_a_reset_leaves_what_other_machines_have_found(tmp_path):
    async with Server(tmp_path, place=make_place(cores=64)) as other:
        await other.registry.load(A)
        await other.tune()
    async with Server(tmp_path) as server:
        await server.until_served()
        assert len((await server.tune()).tunings) == 2
        await server.registry.reset_tuning("org/a")
        (left,) = server.registry.get("org/a").manifest.tunings
        assert left.machine.cores == 64


async def test_an_engine_that_dies_in_the_middle_leaves_the_model_as_it_was(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        tuning = asyncio.create_task(server.tune())
        await server.until_tuning()
        server.engine.die()
        with pytest.raises(TuningError, match="executed as before"):
            await tuning
        server.engine.come_back()
        await server.until_served()
        assert server.layout() == DEFAULT
        assert server.registry.get("org/a").manifest.tunings == ()
        await server.embed()
        assert server.registry.progress() == []
        await server.tune()
        assert server.layout() == OTHER


async def test_an_engine_that_refuses_a_layout_leaves_the_model_as_it_was(tmp_path):
    """The first load in the other layout fails; the former one is loaded again, at once."""
    async with Server(tmp_path, Refusing(instances=2)) as server:
        await server.registry.load(A)
        with pytest.raises(TuningError, match="no memory for it"):
            await server.tune()
        assert server.layout() == DEFAULT
        (status,) = server.registry.statuses()
        assert (status.state, status.reason) == ("READY", None)


async def test_a_layout_that_could_not_be_restored_is_mended_later(tmp_path):
    """The engine loses contact for the restoring alone: the graph in it is in a layout that nobody chose."""
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        tuning = asyncio.create_task(server.tune())
        await server.until_tuning()
        unload, infer = server.engine.unload, server.engine.infer

        async def away(*_, **__):
            raise EngineUnavailableError("It is away.")

        server.engine.unload = server.engine.infer = away
        with pytest.raises(TuningError):
            await tuning
        assert server.engine.layouts[graph.name] == OTHER
        server.engine.unload, server.engine.infer = unload, infer
        server.registry.suspect()
        await server.until_served()
        assert server.layout() == DEFAULT


async def test_a_caller_who_goes_away_does_not_stop_the_tuning(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        gate = hold_layout(server.engine, OTHER)
        caller = asyncio.create_task(server.tune())
        await server.until_held()
        caller.cancel()
        await asyncio.wait([caller])
        with pytest.raises(TuningInProgressError):
            await server.tune()
        gate.set()
        await server.until(lambda: server.registry.progress() == [])
        await server.until_served()
        assert server.layout() == OTHER


@pytest.mark.parametrize("end", ["unload", "delete"])
async def test_unloading_or_deleting_a_model_ends_its_tuning(tmp_path, end):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        (graph,) = server.registry.get("org/a").manifest.graphs
        gate = hold_layout(server.engine, OTHER)
        tuning = asyncio.create_task(server.tune())
        await server.until_held()
        await getattr(server.registry, end)("org/a")
        with pytest.raises(ModelNotLoadedError):
            await tuning
        assert not await server.engine.ready(graph.name)
        gate.set()
        await server.registry.load(A)
        assert server.layout() == DEFAULT
        await server.embed()


async def test_a_model_that_is_unloaded_and_loaded_at_once_does_not_stay_in_a_layout_that_was_tried(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        gate = hold_layout(server.engine, OTHER)
        tuning = asyncio.create_task(server.tune())
        await server.until_held()
        unloading = asyncio.create_task(server.registry.unload("org/a"))
        while server.registry.statuses():
            await asyncio.sleep(0)  # the load is to come before the tuning has let go of the model
        gate.set()
        await server.registry.load(A)
        await unloading
        with pytest.raises(ModelNotLoadedError):
            await tuning
        assert server.layout() == DEFAULT
        await server.embed()


async def test_a_server_that_stops_does_not_wait_for_a_tuning(tmp_path):
    async with Server(tmp_path) as server:
        server.engine.latency_s = 1.0
        await server.registry.load(A)
        tuning = asyncio.create_task(server.tune())
        await server.until(lambda: server.registry.progress())
        server.registry.stop_tuning()
        with pytest.raises(EngineUnavailableError, match="shutting down"):
            await asyncio.wait_for(tuning, 5)


async def test_a_model_that_was_replaced_meanwhile_is_not_given_the_tuning(tmp_path):
    """Another graph lies in the repository by the time that the sweep ends: its manifest stays as it is."""
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        gate = hold_layout(server.engine, OTHER)
        tuning = asyncio.create_task(server.tune())
        await server.until_held()
        (entry,) = server.registry.repository.entries()
        (graph,) = entry.manifest.graphs
        other = msgspec.structs.replace(graph, equal_lengths_only=True)
        replaced = msgspec.structs.replace(entry.manifest, graphs=(other,))
        (entry.folder / "manifest.json").write_bytes(msgspec.json.encode(replaced))
        gate.set()
        with pytest.raises(ModelConflictError, match="replaced"):
            await tuning
        assert (await server.registry.manifest("org/a")) == replaced


async def test_a_disk_that_is_full_leaves_the_model_as_it_was(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        repository = server.registry.repository
        write = repository.change_tunings

        def full(key, manifest, change):
            if change(()) != ():
                raise OSError(28, "No space left on device")
            return write(key, manifest, change)

        repository.change_tunings = full
        with pytest.raises(DiskFullError):
            await server.tune()
        assert server.layout() == DEFAULT
        assert (await server.registry.manifest("org/a")).tunings == ()
        await server.embed()


async def test_a_reset_that_the_engine_fails_is_made_up_for_later(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        await server.tune()
        server.engine.die()
        with pytest.raises(EngineUnavailableError):
            await server.registry.reset_tuning("org/a")
        server.engine.come_back()
        await server.until_served()
        assert server.layout() == DEFAULT
        assert server.registry.get("org/a").queues["text_encoder"] is not None
        await server.embed()


async def test_a_reset_helps_a_model_whose_tuning_the_engine_cannot_load(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        await server.tune()
    async with Server(tmp_path, Refusing(instances=2)) as server:
        await server.until(lambda: any(status.state == "UNAVAILABLE" for status in server.registry.statuses()))
        assert await server.registry.reset_tuning("org/a")
        await server.until_served()
        assert server.layout() == DEFAULT
        assert server.registry.get("org/a").manifest.tunings == ()


async def test_what_is_not_loaded_or_has_nothing_to_choose_is_not_tuned(tmp_path):
    given = {"MODEL_INSTANCES": 1, "MAX_BATCH_SIZE": 8, "INGRAIN_MAX_BATCH_TOKENS": 512}
    async with Server(tmp_path, place=make_place(given=given)) as server:
        with pytest.raises(ModelNotLoadedError):
            await server.tune()
        await server.registry.load(A)
        with pytest.raises(InvalidRequestError, match="MAX_BATCH_SIZE"):
            await server.tune()


async def test_layouts_that_do_not_fit_the_memory_are_not_loaded(tmp_path):
    place = dataclasses.replace(
        make_place(cores=4, free=0), default=Execution(layout=Layout(1, 4), max_items=32, max_tokens=512)
    )
    async with Server(tmp_path, place=place) as server:
        await server.registry.load(A)
        manifest = await server.tune()
    # Copies with one thread share their weights, so any number of them fits.
    measured = {point.execution.layout for point in manifest.tunings[0].graphs[0].curve if point.step == "layout"}
    assert measured == {Layout(1, 4), Layout(4, 1)}


# --- at load ---------------------------------------------------------------------------------------------------------


async def test_a_model_is_tuned_once_before_it_serves(tmp_path):
    async with Server(tmp_path, tune_at_load=True) as server:
        gate = hold_layout(server.engine, OTHER)
        loading = asyncio.create_task(server.registry.load(A))
        await server.until_held()
        with pytest.raises(ModelLoadingError, match=r"loaded|tuned"):
            server.registry.get("org/a")
        gate.set()
        await loading
        assert server.layout() == OTHER
        loads = len(server.engine.loads)
        await server.registry.unload("org/a")
        await server.registry.load(A)
        assert len(server.engine.loads) == loads + 1
    async with Server(tmp_path, tune_at_load=True) as again:
        await again.until_served()
        assert len(again.engine.loads) == 1


async def test_a_tuning_at_load_that_fails_leaves_a_model_that_serves_by_default(tmp_path):
    """An engine that breaks with each other layout is not broken again and again."""
    async with Server(tmp_path, tune_at_load=True) as server:
        loading = asyncio.create_task(server.registry.load(A))
        await server.until_tuning()
        server.engine.die()
        await asyncio.wait([loading])
        server.engine.come_back()
        await server.until_served()
        assert server.layout() == DEFAULT
        assert server.engine.loads.count(server.engine.loads[0]) == len(server.engine.loads) <= 4


async def test_unloading_ends_a_tuning_at_load(tmp_path):
    async with Server(tmp_path, tune_at_load=True) as server:
        hold_layout(server.engine, OTHER)
        loading = asyncio.create_task(server.registry.load(A))
        await server.until_held()
        await server.registry.unload("org/a")
        with pytest.raises(ModelNotLoadedError):
            await loading
        assert server.registry.statuses() == []


# --- processes that follow -------------------------------------------------------------------------------------------


async def test_a_process_that_follows_puts_batches_together_as_tuned(tmp_path):
    """A worker's queue has the tuned limits, whether the model was open there before or is opened afterwards."""
    images = make_images(Settings())
    async with Server(tmp_path) as server:
        find, engine = server.registry.repository.find, server.engine
        await server.registry.load(A)

        def follower() -> FollowedRegistry:
            return FollowedRegistry(
                lambda key: open_model(find(key), engine, QueueLimits(), images.preprocessor),
                refresh=server.registry.refresh,
                suspect=server.registry.suspect,
            )

        async def follow(one: FollowedRegistry):
            one.follow(server.registry.view(), frozenset())
            await one.open_missing()
            return one.get("org/a").queues["text_encoder"]

        early = follower()
        queue = await follow(early)
        assert queue._in_flight == 3
        await server.tune()
        assert await follow(early) is queue
        assert queue._in_flight == (await follow(follower()))._in_flight == 2
    await images.aclose()
