"""The routes that tune: what they answer and refuse, with the registry, queues and HTTP that the server has."""

import asyncio

import pytest

from ingrain.repository.tuning import Layout
from ingrain.settings import Settings
from planes import hold_layout, running_planes

ALL_AT_ONCE = {"name": "org/model", "seconds": 1}
DEFAULT = {"copies": 2, "threads": 1, "maxItems": 32, "maxTokens": 4096, "overheadTokens": 8}
OTHER = Layout(1, 2)


@pytest.fixture
def one_copy_is_faster(planes):
    """Have the engine be four times as fast with one copy of two threads."""
    planes.engine.batch_s = lambda layout, shape: 0.0025 if layout == OTHER else 0.02
    return planes


async def until_tuning(planes) -> None:
    """Wait until the sweep is about to load the other layout."""
    async with asyncio.timeout(20):
        while planes.services.registry.statuses()[0].state != "LOADING":
            await asyncio.sleep(0.002)


async def test_a_tuning_answers_what_was_chosen_and_the_curve(one_copy_is_faster):
    planes = one_copy_is_faster
    answer = (await planes.model.post("/tune_model", json=ALL_AT_ONCE)).json()
    (graph,) = answer["graphs"]
    assert graph["role"] == "text_encoder"
    assert graph["default"] == DEFAULT
    assert graph["inEffect"] == graph["chosen"]
    assert (graph["chosen"]["copies"], graph["chosen"]["threads"]) == (1, 2)
    assert graph["ratio"] >= 4.0
    first = graph["curve"][0]
    assert (first["step"], first["execution"], first["ratio"]) == ("layout", DEFAULT, 1.0)
    assert first["itemsPerS"] > 0
    assert answer["tunedAt"]
    assert "times the default" in answer["message"]
    told = (await planes.model.get("/model_tuning", params={"name": "org/model"})).json()
    assert told == answer


async def test_without_a_tuning_the_defaults_are_told_and_a_reset_brings_them_back(one_copy_is_faster):
    planes = one_copy_is_faster

    async def told() -> dict:
        return (await planes.model.get("/model_tuning", params={"name": "org/model"})).json()

    before = await told()
    assert (before["tunedAt"], before["graphs"][0]["chosen"], before["graphs"][0]["curve"]) == (None, None, [])
    assert before["graphs"][0]["inEffect"] == DEFAULT
    await planes.model.post("/tune_model", json=ALL_AT_ONCE)
    answer = await planes.model.post("/reset_tuning", json={"name": "org/model"})
    assert "default settings again" in answer.json()["message"]
    assert await told() == before
    answer = await planes.model.post("/reset_tuning", json={"name": "org/model"})
    assert "was not tuned" in answer.json()["message"]


async def test_meanwhile_requests_are_503_and_a_second_tuning_409(one_copy_is_faster):
    planes = one_copy_is_faster
    gate = hold_layout(planes.engine, OTHER)
    tuning = asyncio.create_task(planes.model.post("/tune_model", json=ALL_AT_ONCE))
    await until_tuning(planes)
    answer = await planes.embed("red")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    (model,) = (await planes.model.get("/repository_models")).json()["models"]
    assert model["state"] == "LOADING"
    assert "tuned" in model["reason"]
    for path, body in (("/tune_model", ALL_AT_ONCE), ("/reset_tuning", {"name": "org/model"})):
        refused = await planes.model.post(path, json=body)
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "tuning_in_progress"
    gate.set()
    assert (await tuning).status_code == 200
    assert (await planes.embed("red")).status_code == 200


async def test_a_tuning_that_the_engine_ends_is_500_and_says_so(one_copy_is_faster):
    planes = one_copy_is_faster
    gate = hold_layout(planes.engine, OTHER)
    tuning = asyncio.create_task(planes.model.post("/tune_model", json=ALL_AT_ONCE))
    await until_tuning(planes)
    planes.engine.die()
    gate.set()
    answer = await tuning
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "tuning_failed"
    planes.engine.come_back()


async def test_unloading_ends_a_tuning_with_404(one_copy_is_faster):
    planes = one_copy_is_faster
    hold_layout(planes.engine, OTHER)
    tuning = asyncio.create_task(planes.model.post("/tune_model", json=ALL_AT_ONCE))
    await until_tuning(planes)
    assert (await planes.model.post("/unload_model", json={"name": "org/model"})).status_code == 200
    assert (await tuning).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "absent"}, 404),
        ({"name": "org/model", "seconds": 0}, 400),
        ({"name": "org/model", "seconds": 1e9}, 400),
        ({"name": "org/model", "second": 1}, 400),
        ({}, 400),
    ],
)
async def test_a_wrong_request_is_refused(planes, body, status):
    assert (await planes.model.post("/tune_model", json=body)).status_code == status
    if "seconds" not in body:
        assert (await planes.model.post("/reset_tuning", json=body)).status_code == status


async def test_tuning_needs_the_scope_of_the_model_plane(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("reader:infer", "owner"))) as planes:
        for path in ("/tune_model", "/reset_tuning"):
            assert (await planes.model.post(path, json={"name": "a"})).status_code == 401
            headers = {"authorization": "Bearer reader"}
            assert (await planes.model.post(path, json={"name": "a"}, headers=headers)).status_code == 403


async def test_a_model_of_two_towers_is_tuned_graph_by_graph(one_copy_is_faster):
    planes = one_copy_is_faster
    await planes.load("clip", "open_clip")
    answer = (await planes.model.post("/tune_model", json={"name": "clip", "seconds": 1})).json()
    assert [graph["role"] for graph in answer["graphs"]] == ["text_encoder", "image_encoder"]
    pictures = answer["graphs"][1]
    assert pictures["inEffect"]["maxTokens"] is None
    assert {point["step"] for point in pictures["curve"]} <= {"layout", "items", "check"}
