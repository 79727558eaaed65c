"""Servers with different settings on one engine and one repository: what is loaded is served as it is loaded."""

import asyncio
import dataclasses

import pytest
from registry_server import RegistryServer

from ingrain.engine.protocol import LoadedAs
from ingrain.errors import EngineError, InferenceError
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.triton_config import from_pbtxt, layout_of
from ingrain.repository.tuning import Execution, Layout
from ingrain.testing.fake_engine import FakeEngine
from planes import make_place

A = ModelRef(name="org/a")
OTHER_SETTINGS = {
    "batches": {"max_batch_size": 32},
    "instances": {"instances": 3},
    "batching": {"dynamic_batching": False},
    "kinds": {"instance_kind": "KIND_GPU"},
    "threads": {"threads": 2},
    "tensorrt": {"tensorrt": True},
}


class SharedEngine(FakeEngine):
    """An engine of several servers, which reads a graph's configuration when it loads the graph, as Triton does."""

    def __init__(self, root) -> None:
        super().__init__()
        self.root = root
        self.loaded = {}
        self.unloads = []

    async def load(self, graph, layout=None) -> None:
        if not await self.ready(graph.name):
            config = from_pbtxt((self.root / "triton" / graph.name / "config.pbtxt").read_bytes())
            if config is None:
                raise EngineError("the fake cannot read the configuration")
            self.loaded[graph.name] = LoadedAs(layout=layout_of(config), max_items=config.max_batch_size)
        await super().load(graph, layout)

    async def unload(self, name) -> None:
        self.unloads.append(name)
        await super().unload(name)

    async def loaded_as(self, name):
        return self.loaded[name] if await self.ready(name) else None

    async def infer(self, name, inputs, **fields):
        if len(next(iter(inputs.values()))) > self.loaded[name].max_items:
            raise InferenceError("the batch is larger than max_batch_size")
        return await super().infer(name, inputs, **fields)


def place_of(policy: ExecutionPolicy, **fields):
    place = make_place()
    layout = Layout(policy.instances, policy.threads)
    execution = Execution(layout=layout, max_items=policy.max_batch_size, max_tokens=4096, overhead_tokens=8)
    return dataclasses.replace(place, default=execution, most_items=policy.max_batch_size, **fields)


def server(engine: SharedEngine, models=(), **policy) -> RegistryServer:
    """Make a server with settings of its own, by default batches of up to 8."""
    wanted = ExecutionPolicy(**({"max_batch_size": 8, "instances": 1} | policy))
    return RegistryServer(
        engine.root, models, engine=engine, policy=wanted, backend="onnxruntime", place=place_of(wanted)
    )


@pytest.fixture
def engine(tmp_path):
    return SharedEngine(tmp_path)


def queue_of(one: RegistryServer):
    return one.registry.get("org/a").queues["text_encoder"]


async def settle(*servers: RegistryServer, seconds: float = 0.3) -> None:
    """Let every server compare its models with the engine, several times."""
    for _ in range(6):
        for one in servers:
            one.registry.suspect()
        await asyncio.sleep(seconds / 6)
    for one in servers:
        await one.until_ready("org/a")


@pytest.mark.parametrize("other", OTHER_SETTINGS.values(), ids=OTHER_SETTINGS)
async def test_servers_that_differ_in_a_setting_leave_each_others_graphs_alone(engine, other):
    """They unloaded each other's graphs without end."""
    async with server(engine) as one:
        await one.registry.load(A)
        async with server(engine, **other) as two:
            await two.until_ready("org/a")
            await settle(one, two)
            assert engine.loads == [engine.loads[0]]
            assert queue_of(two).limits.max_items == 8
            # Lost by the engine, too: the first that notices loads it as it was.
            engine.die()
            engine.come_back()
            await settle(one, two)
            (loaded,) = engine.loaded.values()
            assert loaded == LoadedAs(layout=Layout(1, 1), max_items=8)
            assert len(engine.loads) == 2


async def test_a_command_applies_a_servers_settings_once_and_all_follow_its_limits(engine):
    async with server(engine, max_batch_size=32) as one, server(engine, instances=2) as two:
        assert await one.registry.load(A)
        await two.registry.refresh()
        await two.until_ready("org/a")
        assert queue_of(one).limits.max_items == 32
        assert not await one.registry.load(A)
        assert await two.registry.load(A), "its settings differ from those in effect"
        assert not await two.registry.load(A)
        await settle(one, two)
        assert len(engine.loads) == 2
        assert queue_of(one).limits.max_items == 8
        for each in (one, two):
            model = each.registry.get("org/a")
            ((execution),) = next(slot.executions for slot in each.registry.slots).values()
            assert execution.layout == Layout(2, 1)
            assert model.queues["text_encoder"].limits.max_items == 8


async def test_a_configuration_that_the_engine_refuses_is_written_again(engine):
    async with server(engine) as one:
        await one.registry.load(A)
        (name,) = engine.loaded
        (engine.root / "triton" / name / "config.pbtxt").write_text("max_batch_size: ]")
        await engine.unload(name)
        one.registry.suspect()
        async with asyncio.timeout(30):
            while not await engine.ready(name):
                await asyncio.sleep(0.01)
        await one.until_ready("org/a")


async def test_a_new_server_on_an_engine_without_the_graph_loads_it_with_its_own_settings(engine):
    async with server(engine) as one:
        await one.registry.load(A)
    async with server(engine, max_batch_size=32) as two:  # the engine was restarted, too
        await two.until_ready("org/a")
        assert queue_of(two).limits.max_items == 32


async def test_another_default_precision_converts_nothing_that_is_stored(engine):
    async with server(engine) as one:
        await one.registry.load(A)
        two = RegistryServer(
            engine.root, engine=engine, backend="onnxruntime", default_precision="int8", place=make_place()
        )
        async with two:
            await two.until_ready("org/a")
            await settle(one, two)
            assert two.export.runs == []
            assert two.registry.get("org/a").manifest.precision == "fp32"
            await two.registry.load(A)  # by a command it does
            assert [ref.precision for ref in two.export.runs] == ["int8"]
            await settle(one, two)
            assert one.registry.get("org/a").manifest.precision == "int8"
            assert one.export.runs == [A]
            assert len(engine.loads) == 2


async def test_a_tuning_by_one_server_is_no_reason_for_another_to_load_again(engine):
    async with server(engine) as one, server(engine) as two:
        await one.registry.load(A)
        await two.registry.refresh()
        await two.until_ready("org/a")
        await one.registry.tune("org/a", seconds=0.05)
        await settle(one, two)
        loads = len(engine.loads)
        engine.unloads.clear()
        engine.die()
        engine.come_back()
        await settle(one, two)
        assert len(engine.loads) == loads + 1
        assert engine.unloads == []


async def test_a_model_that_is_loaded_again_at_once_is_not_unloaded_by_a_follower(engine):
    async with server(engine) as one, server(engine) as two:
        for _ in range(5):
            await one.registry.load(A)
            await two.registry.refresh()
            await two.until_ready("org/a")
            await one.registry.unload("org/a")
            load = asyncio.create_task(one.registry.load(A))
            await two.registry.refresh()
            await load
            await settle(one, two, seconds=0.1)
            (name,) = engine.loaded
            assert await engine.ready(name)


async def test_as_many_batches_are_in_flight_as_all_servers_that_have_the_graph_run_at_once(engine):
    async with server(engine, instances=2) as one:
        await one.registry.load(A)
        assert queue_of(one)._in_flight == 3
        (name,) = engine.loaded
        for servers in (3, 2):
            engine.loaded[name] = dataclasses.replace(engine.loaded[name], servers=servers)
            await settle(one)
            assert queue_of(one)._in_flight == 2 * servers + 1


async def test_an_engine_that_loads_by_itself_holds_the_lock_of_the_model(engine):
    """No other process, and no command of this one, then loads or unloads the same graphs."""
    engine.hold, engine.forget = None, engine.unloads.remove
    async with server(engine) as one:
        await one.registry.load(A)
        engine.unloads.clear()
        async with engine.hold(A.key):
            unloading = asyncio.create_task(one.registry.unload("org/a"))
            await asyncio.sleep(0.2)
            assert engine.unloads == []
        await unloading
        assert engine.unloads == list(engine.loaded)
