"""Precisions: a name has one; loading it in another makes it anew, and what serves goes on serving until then."""

import asyncio

import pytest
from registry_server import RegistryServer

from ingrain.errors import ModelNotLoadedError, UnsupportedModelError
from ingrain.repository.models_to_load import ModelRef, read_desired
from planes import FakeExport

A = ModelRef(name="org/a")
INT8 = ModelRef(name="org/a", precision="int8")
FP32 = ModelRef(name="org/a", precision="fp32")


class RefusingExport(FakeExport):
    """Refuses int8 as an export does that misses its floors."""

    async def __call__(self, ref, folder, on_progress) -> None:
        if ref.precision == "int8":
            self.runs.append(ref)
            raise UnsupportedModelError("The cosine is 0.9.", param="precision")
        await super().__call__(ref, folder, on_progress)


class Server(RegistryServer):
    """A registry that is looked at by the precision of one model."""

    def precision(self) -> str:
        return self.registry.get("org/a").manifest.precision

    async def until_exporting(self, runs: int) -> None:
        async with asyncio.timeout(60):
            while len(self.export.runs) < runs:
                await asyncio.sleep(0.01)

    def exported(self) -> list[str | None]:
        return [ref.precision for ref in self.export.runs]


async def test_another_precision_takes_the_models_place_and_the_same_changes_nothing(tmp_path):
    async with Server(tmp_path) as server:
        assert await server.registry.load(A)
        assert await server.registry.load(INT8)
        assert server.precision() == "int8"
        assert len(server.engine.loads) == 2
        assert not await server.registry.load(INT8)
        assert not await server.registry.load(A)
        assert server.exported() == [None, "int8"]
    assert read_desired(tmp_path) == (INT8,)
    async with Server(tmp_path) as again:
        await again.until_ready("org/a")
        assert again.precision() == "int8"
        assert again.exported() == []


async def test_a_stored_model_is_loaded_as_it_is_where_no_precision_is_named(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(INT8)
        await server.registry.unload("org/a")
        await server.registry.load(A)
        assert server.precision() == "int8"
        await server.registry.unload("org/a")
        await server.registry.load(FP32)
        assert server.precision() == "fp32"


async def test_a_model_serves_until_what_replaces_it_is_made(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        server.export.hold = asyncio.Event()
        load = asyncio.create_task(server.registry.load(INT8))
        await server.until_exporting(2)
        assert server.exported() == [None, "int8"]
        assert server.precision() == "fp32"
        assert not await server.registry.load(A)
        server.export.hold.set()
        assert await load
        assert server.precision() == "int8"


async def test_a_precision_that_cannot_be_had_leaves_the_model_as_it_was_and_says_why(tmp_path):
    async with Server(tmp_path, export=RefusingExport()) as server:
        await server.registry.load(A)
        before = server.registry.get("org/a")
        with pytest.raises(UnsupportedModelError, match="cosine"):
            await server.registry.load(INT8)
        assert server.registry.get("org/a") is before
        (status,) = server.registry.statuses()
        assert (status.state, status.precision, status.reason) == ("READY", "fp32", "The cosine is 0.9.")
        assert not await server.registry.load(A)
    assert read_desired(tmp_path) == (A,)


async def test_two_precisions_asked_for_at_once_are_made_one_after_the_other(tmp_path):
    async with Server(tmp_path) as server:
        server.export.hold = asyncio.Event()
        loads = [asyncio.create_task(server.registry.load(ref)) for ref in (FP32, INT8)]
        await asyncio.sleep(0.05)
        server.export.hold.set()
        assert await asyncio.gather(*loads) == [True, True]
        assert server.exported() == ["fp32", "int8"]
        assert server.precision() == "int8"


async def test_unloading_stops_a_replacement_and_leaves_the_stored_model(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
        server.export.hold = asyncio.Event()
        load = asyncio.create_task(server.registry.load(INT8))
        await server.until_exporting(2)
        await server.registry.unload("org/a")
        with pytest.raises(ModelNotLoadedError):
            await load
        server.export.hold = None
        await server.registry.load(A)
        assert server.precision() == "fp32"
        assert server.exported() == [None, "int8"]


async def test_a_default_is_for_what_names_no_precision_stored_models_included(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
    async with Server(tmp_path, default_precision="int8") as server:
        await server.until_ready("org/a")
        assert server.precision() == "int8"
        await server.registry.load(ModelRef(name="org/b", precision="fp32"))
        assert server.registry.get("org/b").manifest.precision == "fp32"


async def test_a_default_that_does_not_suit_a_model_leaves_it_in_fp32_and_is_not_tried_at_each_start(tmp_path):
    async with Server(tmp_path, export=RefusingExport(), default_precision="int8") as server:
        await server.registry.load(A)
        assert server.precision() == "fp32"
        assert server.exported() == ["int8", "fp32"]
    async with Server(tmp_path, [A], export=RefusingExport(), default_precision="int8") as server:
        await server.until_ready("org/a")
        assert server.exported() == []


async def test_a_precision_named_at_start_wins_over_the_one_of_last_time(tmp_path):
    async with Server(tmp_path) as server:
        await server.registry.load(A)
    async with Server(tmp_path, [INT8]) as server:
        await server.until_ready("org/a")
        assert server.precision() == "int8"


async def test_a_process_that_shares_the_repository_follows_to_another_precision(tmp_path):
    async with Server(tmp_path) as one, Server(tmp_path) as two:
        await one.registry.load(A)
        await two.registry.refresh()
        await two.until_ready("org/a")
        await one.registry.load(INT8)
        await two.registry.refresh()
        async with asyncio.timeout(60):
            while True:
                await two.until_ready("org/a")
                if two.precision() == "int8":
                    break
                await asyncio.sleep(0.01)
        assert two.export.runs == []
        assert len(two.engine.loads) == 2
