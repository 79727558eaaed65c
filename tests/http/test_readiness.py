"""Readiness: the server's own, which one model's trouble leaves alone, and each model's beside it."""

import asyncio

import pytest

from ingrain.errors import SourceNotFoundError, SourceUnavailableError
from ingrain.repository.models_to_load import ModelRef
from planes import running_planes

NAME = "org/model"


async def ready(planes, **query):
    answer = await planes.inference.get("/ready", params=query)
    return answer.status_code, answer.json()


async def until(holds) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.01)


async def test_a_model_that_does_not_exist_makes_nobody_unready(planes):
    """Neither while the source is asked for it nor when it has failed."""
    planes.export.hold, planes.export.error = asyncio.Event(), SourceNotFoundError("No such model.")
    load = asyncio.create_task(planes.model.post("/load_model", json={"name": "org/no", "library": "timm"}))
    await until(lambda: asyncio.sleep(0, len(planes.export.runs) == 2))
    status, body = await ready(planes)
    assert (status, body["ready"], body["reasons"]) == (200, True, [])
    assert [(model["name"], model["state"]) for model in body["models"]] == [(NAME, "READY"), ("org/no", "LOADING")]
    assert (await ready(planes, model="org/no"))[0] == 503
    planes.export.hold.set()
    assert (await load).status_code == 404
    assert (await ready(planes))[0] == 200
    assert (await ready(planes, model="org/no"))[0] == 404


@pytest.mark.parametrize("error", [SourceNotFoundError("No such model."), SourceUnavailableError("The hub is away.")])
async def test_models_of_the_start_are_awaited_until_they_are_loaded_or_have_failed(tmp_path, error):
    """A stale name in INGRAIN_MODELS keeps nobody waiting once it has failed, though it may be tried again."""
    async with running_planes(tmp_path) as planes:
        await planes.load()
    async with running_planes(tmp_path, models=[ModelRef(name="org/stale")]) as planes:
        planes.export.hold, planes.export.error = asyncio.Event(), error
        await until(lambda: asyncio.sleep(0, bool(planes.export.runs)))
        status, body = await ready(planes)
        assert status == 503
        assert any("org/stale" in reason for reason in body["reasons"])
        planes.export.hold.set()

        async def is_ready():
            return (await ready(planes))[0] == 200

        await until(is_ready)
        _, body = await ready(planes)
        states = {model["name"]: (model["state"], model.get("reason")) for model in body["models"]}
        assert states == {NAME: ("READY", None), "org/stale": ("UNAVAILABLE", error.message)}
        assert (await ready(planes, model=NAME))[0] == 200
        status, body = await ready(planes, model="org/stale")
        assert (status, body["reasons"]) == (503, [error.message])
        text = (await planes.inference.get("/metrics", headers={"accept": "text/plain"})).text
        assert "ingrain_ready 1.0" in text
        assert (
            f'ingrain_model_state{{library="sentence_transformers",model="{NAME}",pretrained="",state="READY"}} 1'
            in text
        )
        stale = 'ingrain_model_state{library="sentence_transformers",model="org/stale",pretrained="",state='
        assert f'{stale}"UNAVAILABLE"}} 1.0' in text
        assert f'{stale}"READY"}} 0.0' in text


async def test_a_restart_of_the_engine_is_one_gap_and_no_flapping(planes):
    """/ready is 503 until the models are back, though the engine answers before they are."""
    planes.engine.die()
    assert (await ready(planes))[0] == 503
    gate, load = asyncio.Event(), planes.engine.load

    async def held(graph, layout=None):
        await gate.wait()
        await load(graph, layout)

    planes.engine.load = held
    # As for a Triton that nobody has yet seen to be back: it answers, and no callback has run.
    planes.engine._death = asyncio.get_running_loop().create_future()
    assert await planes.engine.live()
    status, body = await ready(planes)
    assert (status, body["ready"]) == (503, False)
    planes.engine.come_back()
    for _ in range(20):
        assert (await ready(planes))[0] == 503
        await asyncio.sleep(0.01)
    text = (await planes.inference.get("/metrics", headers={"accept": "text/plain"})).text
    assert "ingrain_ready 0.0" in text
    gate.set()
    seen = []

    async def is_ready():
        seen.append((await ready(planes))[0])
        return seen[-1] == 200

    await until(is_ready)
    assert (await planes.embed("red")).status_code == 200
    assert [(await ready(planes))[0] for _ in range(20)] == [200] * 20


async def test_a_graph_that_the_engine_lost_is_its_own_models_trouble(planes):
    await planes.load("org/other")
    (graph,) = planes.services.registry.get(NAME).manifest.graphs
    gate, load = asyncio.Event(), planes.engine.load

    async def held(graph, layout=None):
        await gate.wait()
        await load(graph, layout)

    planes.engine.load = held
    await planes.engine.unload(graph.name)
    assert (await planes.embed("red")).status_code == 503

    async def is_noticed():
        return (await ready(planes, model=NAME))[0] == 503

    await until(is_noticed)
    assert (await ready(planes))[0] == 200
    assert (await ready(planes, model="org/other"))[0] == 200
    gate.set()

    async def is_back():
        return (await ready(planes, model=NAME))[0] == 200

    await until(is_back)


async def test_a_model_is_named_in_the_query_with_its_slashes_escaped_or_not(planes):
    for query in (
        "model=org/model",
        "model=org%2Fmodel",
        "model=org%2fmodel&library=sentence_transformers&pretrained=",
    ):
        answer = await planes.inference.get(f"/ready?{query}")
        assert answer.status_code == 200, query
        assert [model["name"] for model in answer.json()["models"]] == [NAME]
    for query, status in (
        ("model=org/absent", 404),
        ("model=", 404),
        ("name=org/model", 400),
        ("library=x&model=a", 400),
    ):
        answer = await planes.inference.get(f"/ready?{query}")
        assert answer.status_code == status, query
        assert answer.json()["error"]["message"]
    planes.engine.die()
    assert (await ready(planes, model=NAME))[0] == 503


async def test_the_states_are_scraped_while_the_engine_is_away(planes):
    planes.engine.die()
    answer = await planes.inference.get("/metrics", headers={"accept": "text/plain"})
    assert answer.status_code == 200
    assert "ingrain_ready 0.0" in answer.text
