"""Tasks of timm models: as a precision, one at a time, made anew when another is asked for, and kept over restarts."""

import asyncio

from ingrain.errors import ModelLoadingError
from ingrain.repository.desired import ModelRef, read_desired
from ingrain.testing.fake_engine import FakeEngine
from planes import FakeExport, make_registry

NET = ModelRef(name="net", library="timm")
EMBED = ModelRef(name="net", library="timm", task="embed")
CLASSIFY = ModelRef(name="net", library="timm", task="classify")


class Server:
    """A registry with its engine and export, started."""

    def __init__(self, root, models=(), **changes) -> None:
        self.engine, self.export, self.models = FakeEngine(), FakeExport(), models
        self.registry = make_registry(root, self.engine, self.export, **changes)

    async def __aenter__(self):
        await self.engine.start()
        await self.registry.start(self.models)
        return self

    async def __aexit__(self, *_):
        await self.registry.close()
        await self.engine.close()

    def task(self) -> str:
        return self.registry.get("net").manifest.task

    async def until_ready(self) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    self.registry.get("net")
                    return
                except ModelLoadingError:
                    await asyncio.sleep(0.01)


async def test_another_task_takes_the_models_place_and_is_kept_over_a_restart(tmp_path):
    async with Server(tmp_path) as server:
        assert await server.registry.load(NET)
        assert server.task() == "classify"
        assert await server.registry.load(EMBED)
        assert server.task() == "embed"
        assert not await server.registry.load(EMBED)
        assert not await server.registry.load(NET)
    assert read_desired(tmp_path) == (EMBED,)
    async with Server(tmp_path, [NET]) as again:
        await again.until_ready()
        assert again.task() == "embed"
        assert again.export.runs == []
        assert await again.registry.load(CLASSIFY)
        assert again.task() == "classify"


async def test_a_model_that_is_made_again_keeps_its_task(tmp_path):
    """In another precision, or because its files are damaged."""
    async with Server(tmp_path) as server:
        await server.registry.load(EMBED)
        await server.registry.load(ModelRef(name="net", library="timm", precision="fp16"))
        assert server.task() == "embed"
        await server.registry.unload("net")
        (entry,) = server.registry.repository.entries()
        server.registry.repository.locate_graph(entry.manifest.graphs[0]).write_bytes(b"damaged")
        await server.registry.load(NET)
        assert server.task() == "embed"
        assert [ref.task for ref in server.export.runs] == ["embed", "embed", "embed"]
