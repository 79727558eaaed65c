"""Tasks of timm models: as a precision, one at a time, made anew when another is asked for, and kept over restarts."""

from registry_server import RegistryServer

from ingrain.repository.models_to_load import ModelRef, read_desired

NET = ModelRef(name="net", library="timm")
EMBED = ModelRef(name="net", library="timm", task="embed")
CLASSIFY = ModelRef(name="net", library="timm", task="classify")


def task(server: RegistryServer) -> str:
    return server.registry.get("net").manifest.task


async def test_another_task_takes_the_models_place_and_is_kept_over_a_restart(tmp_path):
    async with RegistryServer(tmp_path) as server:
        assert await server.registry.load(NET)
        assert task(server) == "classify"
        assert await server.registry.load(EMBED)
        assert task(server) == "embed"
        assert not await server.registry.load(EMBED)
        assert not await server.registry.load(NET)
    assert read_desired(tmp_path) == (EMBED,)
    async with RegistryServer(tmp_path, [NET]) as again:
        await again.until_ready("net")
        assert task(again) == "embed"
        assert again.export.runs == []
        assert await again.registry.load(CLASSIFY)
        assert task(again) == "classify"


async def test_a_model_that_is_made_again_keeps_its_task(tmp_path):
    """In another precision, or because its files are damaged."""
    async with RegistryServer(tmp_path) as server:
        await server.registry.load(EMBED)
        await server.registry.load(ModelRef(name="net", library="timm", precision="fp16"))
        assert task(server) == "embed"
        await server.registry.unload("net")
        (entry,) = server.registry.repository.entries()
        server.registry.repository.locate_graph(entry.manifest.graphs[0]).write_bytes(b"damaged")
        await server.registry.load(NET)
        assert task(server) == "embed"
        assert [ref.task for ref in server.export.runs] == ["embed", "embed", "embed"]
