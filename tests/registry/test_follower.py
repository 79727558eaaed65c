"""A registry that follows another: what that one has loaded is open here, what it drops is dropped at once."""

import asyncio

import pytest

from ingrain.errors import ModelLoadingError, ModelNotLoadedError
from ingrain.models.loaded import open_model
from ingrain.models.queues import QueueLimits
from ingrain.registry.follower import FollowedRegistry
from ingrain.repository.models_to_load import ModelRef
from ingrain.settings import Settings
from ingrain.testing.fake_engine import FakeEngine
from planes import FakeExport, make_images, make_registry

A, B = ModelRef(name="org/a"), ModelRef(name="org/b")


def hold_batches(engine: FakeEngine) -> asyncio.Event:
    """Have the engine wait with batches until the event is set."""
    gate, infer = asyncio.Event(), engine.infer

    async def held(*batch, **options):
        await gate.wait()
        return await infer(*batch, **options)

    engine.infer = held
    return gate


class Pair:
    """A registry that owns models, and one that follows it on the same repository."""

    def __init__(self, root) -> None:
        self.engine = FakeEngine()
        self.owner = make_registry(root, self.engine, FakeExport())
        self.images = make_images(Settings())
        self.broken: set[str] = set()
        self.suspicions = 0
        self.follower = FollowedRegistry(self.open, refresh=self.owner.refresh, suspect=self.suspect)

    async def __aenter__(self):
        await self.engine.start()
        await self.owner.start()
        return self

    async def __aexit__(self, *_):
        await self.owner.close()
        await self.engine.close()
        await self.images.aclose()

    def open(self, key: str):
        if key in self.broken:
            raise OSError("no room")
        return open_model(self.owner.repository.find(key), self.engine, QueueLimits(), self.images.preprocessor)

    def suspect(self) -> None:
        self.suspicions += 1

    def numbers(self) -> list[int]:
        return [model.number for model in self.owner.view().models]

    async def follow(self, everywhere=()) -> frozenset[int]:
        self.follower.follow(self.owner.view(), frozenset(everywhere))
        return await self.follower.open_missing()


async def test_what_is_loaded_there_is_served_here_and_ready_once_it_is_everywhere(tmp_path):
    async with Pair(tmp_path) as pair:
        with pytest.raises(ModelLoadingError):
            pair.follower.get("org/a")
        await pair.owner.load(A)
        assert await pair.follow() == frozenset()
        model = pair.follower.get("org/a")
        assert model is not pair.owner.get("org/a")
        assert len(await model.queues["text_encoder"].submit(model.text.encode(["red"]), timeout_s=5)) == 1
        assert [status.state for status in pair.follower.statuses()] == ["LOADING"]
        await pair.follow(pair.numbers())
        assert pair.follower.get("org/a") is model
        assert pair.follower.statuses() == pair.owner.statuses()
        assert pair.follower.user_names() == pair.owner.user_names()
        assert pair.follower.loaded() == [model]
        assert [name for name, _ in pair.follower.queues()] == ["org/a"]


async def test_what_is_replaced_there_by_another_precision_is_opened_anew_here(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow()
        before = pair.follower.get("org/a")
        await pair.owner.load(ModelRef(name="org/a", precision="int8"))
        await pair.follow()
        assert before.manifest.precision == "fp32"
        assert pair.follower.get("org/a").manifest.precision == "int8"


async def test_what_is_unloaded_there_is_dropped_here_at_once_and_what_waits_is_answered(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow()
        model = pair.follower.get("org/a")
        pair.engine.latency_s = 0.2
        waiting = [
            asyncio.create_task(model.queues["text_encoder"].submit([text], timeout_s=5))
            for text in model.text.encode(["red"] * 200)
        ]
        await asyncio.sleep(0.05)
        await pair.owner.unload("org/a")
        pair.follower.follow(pair.owner.view(), frozenset())
        with pytest.raises(ModelNotLoadedError):
            pair.follower.get("org/a")
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        dropped = [answer for answer in answers if isinstance(answer, ModelNotLoadedError)]
        assert len(dropped) > 0
        assert all(isinstance(answer, ModelNotLoadedError) or answer.shape == (1, 8) for answer in answers)


async def test_a_model_that_was_unloaded_and_loaded_again_meanwhile_is_opened_anew(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow()
        before = pair.follower.get("org/a")
        await pair.owner.unload("org/a")
        await pair.owner.load(A)
        await pair.follow()
        assert pair.follower.get("org/a") is not before


async def test_a_model_that_cannot_be_opened_is_told_and_tried_again_and_others_are_served(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.owner.load(B)
        first, _ = pair.numbers()
        (entry, _) = pair.owner.repository.entries()
        pair.broken.add(entry.key)
        assert await pair.follow(pair.numbers()) == {first}
        pair.follower.get("org/b")
        with pytest.raises(ModelLoadingError):
            pair.follower.get("org/a")
        assert [status.state for status in pair.follower.statuses()] == ["LOADING", "READY"]
        pair.broken.clear()
        assert await pair.follower.open_missing() == frozenset()
        pair.follower.get("org/a")


async def test_a_model_that_goes_while_it_is_being_opened_is_not_kept(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        pair.follower.follow(pair.owner.view(), frozenset())
        opening = asyncio.create_task(pair.follower.open_missing())
        await asyncio.sleep(0)
        await pair.owner.unload("org/a")
        pair.follower.follow(pair.owner.view(), frozenset())
        assert await opening == frozenset()
        assert pair.follower.queues() == []
        with pytest.raises(ModelNotLoadedError):
            pair.follower.get("org/a")


async def test_an_engine_that_has_lost_its_models_makes_them_unready_here_too(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow()
        model = pair.follower.get("org/a")
        pair.engine.die()
        pair.engine.come_back()
        await pair.follow()
        with pytest.raises(ModelLoadingError):
            pair.follower.get("org/a")
        async with asyncio.timeout(60):
            while pair.owner.view().models[0].state != "READY":
                await asyncio.sleep(0.01)
        await pair.follow()
        assert pair.follower.get("org/a") is model


async def test_the_reason_of_a_failure_is_told_here_too(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        (graph,) = pair.owner.get("org/a").manifest.graphs
        pair.engine.refused.add(graph.name)
        await pair.engine.unload(graph.name)
        pair.owner.suspect()
        async with asyncio.timeout(60):
            while pair.owner.view().models[0].state != "UNAVAILABLE":
                await asyncio.sleep(0.01)
        await pair.follow()
        assert pair.follower.statuses() == pair.owner.statuses()
        with pytest.raises(ModelLoadingError, match="refuses"):
            pair.follower.get("org/a")


async def test_readiness_waits_until_what_the_engine_lost_is_served_everywhere_again(tmp_path):
    """A worker that has seen the engine away is not ready because the engine answers again."""
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow(pair.numbers())
        assert pair.follower.awaited() == []
        pair.engine.die()
        pair.follower.engine_is_away()
        pair.owner.engine_is_away()
        assert pair.suspicions == 1
        await pair.follow(pair.numbers())
        assert len(pair.follower.awaited()) == 1
        pair.engine.come_back()
        async with asyncio.timeout(30):
            while pair.owner.awaited():
                await asyncio.sleep(0.01)
        await pair.follow()
        assert len(pair.follower.awaited()) == 1, "other workers have not opened it"
        await pair.follow(pair.numbers())
        assert pair.follower.awaited() == []


async def test_the_last_process_that_opens_a_model_is_ready_without_another_view(tmp_path):
    """A worker that starts while the models are awaited may get its last view before it has opened them."""
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        pair.owner.engine_is_away()
        pair.follower.follow(pair.owner.view(), frozenset(pair.numbers()))
        async with asyncio.timeout(30):
            while pair.owner.awaited():
                await asyncio.sleep(0.01)
        pair.follower.follow(pair.owner.view(), frozenset(pair.numbers()))
        assert len(pair.follower.awaited()) == 1
        assert await pair.follower.open_missing() == frozenset()
        assert pair.follower.awaited() == []


async def test_a_model_that_the_owner_puts_away_answers_its_requests_here_first_and_delays_no_other(tmp_path):
    """A worker tells the owner that it has dropped a model only when the model's requests are answered."""
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow()
        model = pair.follower.get("org/a")
        gate = hold_batches(pair.engine)
        waiting = asyncio.create_task(model.queues["text_encoder"].submit(model.text.encode(["red"]), timeout_s=60))
        await asyncio.sleep(0.01)
        pair.owner.slots.of(A).state = "UNLOADING"
        pair.follower.follow(pair.owner.view(), frozenset())
        with pytest.raises(ModelLoadingError):
            pair.follower.get("org/a")
        has_left = asyncio.Event()
        pair.follower.put_away(has_left.set)
        assert pair.follower.leaving == {pair.owner.slots.of(A).number}
        await pair.owner.load(B)
        await pair.follow()
        pair.follower.put_away(has_left.set)
        assert pair.follower.get("org/b").is_idle
        assert not waiting.done()
        gate.set()
        async with asyncio.timeout(30):
            await has_left.wait()
        assert waiting.done()
        assert (await waiting).shape == (1, 8)
        assert pair.follower.leaving == frozenset()
        assert set(pair.follower.uses()) == {pair.owner.slots.of(B).number}
        pair.owner.slots.of(A).state = "READY"
        await pair.follow()
        assert pair.follower.get("org/a") is not model


async def test_a_model_that_the_owner_keeps_after_all_stays_open_here(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow()
        model = pair.follower.get("org/a")
        gate = hold_batches(pair.engine)
        waiting = asyncio.create_task(model.queues["text_encoder"].submit(model.text.encode(["red"]), timeout_s=60))
        await asyncio.sleep(0.01)
        pair.owner.slots.of(A).state = "UNLOADING"
        pair.follower.follow(pair.owner.view(), frozenset())
        has_left = asyncio.Event()
        pair.follower.put_away(has_left.set)
        pair.owner.slots.of(A).state = "READY"
        pair.follower.follow(pair.owner.view(), frozenset())
        gate.set()
        async with asyncio.timeout(30):
            await has_left.wait()
        assert (await waiting).shape == (1, 8)
        assert pair.follower.get("org/a") is model


async def test_the_owner_learns_when_a_model_was_used_here_and_how_long_it_shall_stay(tmp_path):
    async with Pair(tmp_path) as pair:
        await pair.owner.load(A)
        await pair.follow()
        pair.follower.get("org/a")
        pair.follower.loads_on_demand = True
        pair.follower.keep_alive("org/a:latest", 5.0)
        (number,) = pair.numbers()
        used_at, seconds = pair.follower.uses()[number]
        assert (used_at, seconds) == (pair.follower.slots.of(A).used_at, 5.0)
        assert pair.follower.uses()[number] == (used_at, None)  # told once
        pair.owner.used(number, used_at + 7, seconds)
        assert (pair.owner.slots.of(A).used_at, pair.owner.slots.of(A).keep_alive_s) == (used_at + 7, 5.0)
