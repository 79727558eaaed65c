"""Requests that name no model, while models come and go."""

import asyncio

import pytest

from ingrain.settings import Settings
from planes import running_planes

TEXT = {"inputs": "red"}


async def embed(planes, path="/embed", **fields):
    return await planes.inference.post(path, json=TEXT | fields)


def slot_of(planes, name):
    (slot,) = planes.services.registry.slots.matching(name, None, None)
    return slot


async def test_a_model_that_is_being_loaded_is_waited_for(tmp_path):
    async with running_planes(tmp_path) as planes:
        assert (await embed(planes)).status_code == 424
        planes.export.hold = asyncio.Event()
        loading = asyncio.create_task(planes.load())
        async with asyncio.timeout(30):
            while not planes.export.runs:
                await asyncio.sleep(0.01)
        answer = await embed(planes)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        planes.export.hold.set()
        await loading
        assert (await embed(planes)).status_code == 200


@pytest.mark.parametrize("state", ["LOADING", "UNAVAILABLE"])
async def test_another_model_does_not_stand_in_for_the_default_one(tmp_path, state):
    """After a restart of the engine one model is there again before the other, whose vectors differ."""
    async with running_planes(tmp_path, Settings(default_models=("org/absent", "org/first"))) as planes:
        for name in ("org/second", "org/first", "cross-encoder/one"):
            await planes.load(name)
        first = slot_of(planes, "org/first")
        first.state = state
        answer = await embed(planes)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "org/first" in answer.text
        assert (await planes.inference.post("/rerank", json={"query": "red", "texts": ["a"]})).status_code == 200
        first.state = "READY"
        assert (await embed(planes)).status_code == 200


async def test_a_default_model_may_be_named_by_an_alias(tmp_path):
    settings = Settings(default_models=("short",), model_aliases=("short=org/first",))
    async with running_planes(tmp_path, settings) as planes:
        for name in ("org/first", "org/second"):
            await planes.load(name)
        assert (await embed(planes)).status_code == 200


async def test_a_restarted_engine_makes_callers_wait_for_the_only_model(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load()
        slot = slot_of(planes, "org/model")
        slot.state = "LOADING"
        for path in ("/embed", "/tokenize", "/"):
            assert (await embed(planes, path)).status_code == 503
        model, slot.model, slot.state = slot.model, None, "READY"  # as in a worker that has not opened it yet
        assert (await embed(planes)).status_code == 503
        slot.model = model
        assert (await embed(planes)).status_code == 200


async def test_a_model_with_several_outputs_is_found_for_each_unless_another_is_made_for_it(tmp_path):
    rerank = {"query": "red", "texts": ["red", "green"]}
    async with running_planes(tmp_path) as planes:
        await planes.load("org/bge-m3")
        for path, body in (("/embed", TEXT), ("/embed_sparse", TEXT), ("/embed_all", TEXT), ("/rerank", rerank)):
            answer = await planes.inference.post(path, json=body)
            assert answer.status_code == 200, answer.text
        models = (await planes.inference.get("/cohere/v1/models", headers={"x-fern-sdk-name": "cohere"})).json()
        assert models["models"][0]["endpoints"] == ["embed", "rerank"]
        await planes.load("cross-encoder/one")
        named = await planes.inference.post("/tei/cross-encoder/one/rerank", json=rerank)
        assert (await planes.inference.post("/rerank", json=rerank)).json() == named.json()


async def test_a_configured_model_comes_before_one_that_is_made_for_the_task(tmp_path):
    rerank = {"query": "red", "texts": ["red", "green"]}
    async with running_planes(tmp_path, Settings(default_models=("org/bge-m3",))) as planes:
        for name in ("cross-encoder/one", "org/bge-m3"):
            await planes.load(name)
        named = await planes.inference.post("/tei/org/bge-m3/rerank", json=rerank)
        assert (await planes.inference.post("/rerank", json=rerank)).json() == named.json()
