"""The model plane's contract: load, unload, delete, list, while others serve."""

import asyncio

import pytest

from ingrain.errors import SourceForbiddenError, SourceNotFoundError, UnsupportedModelError, VerificationError
from ingrain.settings import Settings
from planes import WIDTH, running_planes

ST = "sentence_transformers"


async def test_health_tells_that_the_process_lives(planes):
    assert (await planes.model.get("/health")).json() == {"message": "The model server is running."}


async def test_loading_says_whether_it_was_needed(planes):
    body = {"name": "org/second", "library": ST}
    first = (await planes.model.post("/load_model", json=body)).json()["message"]
    second = (await planes.model.post("/load_model", json=body)).json()["message"]
    assert "loaded successfully" in first
    assert "already loaded" in second


async def test_unloaded_models_stay_in_the_repository_and_deleted_ones_do_not(planes):
    answer = await planes.model.post("/unload_model", json={"name": "org/model"})
    assert "unloaded successfully" in answer.json()["message"]
    assert (await planes.model.get("/loaded_models")).json() == {"models": []}
    assert (await planes.embed("red")).status_code == 404
    (stored,) = (await planes.model.get("/repository_models")).json()["models"]
    assert stored == {"name": "org/model", "library": ST, "state": "UNAVAILABLE"}
    answer = await planes.model.request("DELETE", "/delete_model", json={"name": "org/model"})
    assert "deleted successfully" in answer.json()["message"]
    assert (await planes.model.get("/repository_models")).json() == {"models": []}


async def test_deleting_a_loaded_model_unloads_it(planes):
    await planes.model.request("DELETE", "/delete_model", json={"name": "org/model"})
    assert (await planes.embed("red")).status_code == 404
    assert not await planes.engine.ready("org-model")


@pytest.mark.parametrize(("method", "path"), [("POST", "/unload_model"), ("DELETE", "/delete_model")])
async def test_a_model_that_is_not_there_is_404(planes, method, path):
    answer = await planes.model.request(method, path, json={"name": "org/absent"})
    assert answer.status_code == 404


async def test_lists_show_names_libraries_and_states(planes):
    told = {"name": "org/model", "library": ST, "memoryBytes": 1000}
    assert (await planes.model.get("/loaded_models")).json() == {"models": [told]}
    (model,) = (await planes.model.get("/repository_models")).json()["models"]
    assert model == {**told, "state": "READY"}


async def test_the_width_is_told_loaded_or_not(planes):
    for _ in range(2):
        answer = await planes.model.get("/model_embedding_size", params={"name": "org/model"})
        assert answer.json() == {"embeddingSize": WIDTH}
        await planes.model.post("/unload_model", json={"name": "org/model"})
    assert (await planes.model.get("/model_embedding_size")).status_code == 400
    empty = {"name": "org/model", "library": "", "pretrained": ""}
    assert (await planes.model.get("/model_embedding_size", params=empty)).json() == {"embeddingSize": WIDTH}
    assert (await planes.model.get("/model_embedding_size", params={"name": "absent"})).status_code == 404
    assert (await planes.model.get("/model_embedding_size", params={"name": "a", "libary": "x"})).status_code == 400


@pytest.mark.parametrize(
    ("path", "library"),
    [
        ("/load_sentence_transformer_model", "sentence_transformers"),
        ("/load_clip_model", "open_clip"),
        ("/load_timm_model", "timm"),
    ],
)
async def test_first_generation_loads_know_their_library(planes, path, library):
    answer = await planes.model.post(path, json={"name": "other", "pretrained": None})
    assert "loaded successfully" in answer.json()["message"]
    assert planes.export.runs[-1].library == library


async def test_concurrent_loads_of_one_model_export_once(tmp_path):
    async with running_planes(tmp_path) as planes:
        planes.export.hold = asyncio.Event()
        loads = [asyncio.create_task(planes.load("org/new")) for _ in range(5)]
        await asyncio.sleep(0.05)
        (model,) = (await planes.model.get("/repository_models")).json()["models"]
        assert model["state"] == "LOADING"
        answer = await planes.embed("red", name="org/new")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        planes.export.hold.set()
        await asyncio.gather(*loads)
        assert len(planes.export.runs) == 1


async def test_others_serve_while_a_model_is_exported(planes):
    planes.export.hold = asyncio.Event()
    load = asyncio.create_task(planes.load("org/new"))
    await asyncio.sleep(0.02)
    assert (await planes.embed("red")).status_code == 200
    planes.export.hold.set()
    await load


async def test_unloading_stops_a_load_in_progress(planes):
    planes.export.hold = asyncio.Event()
    load = asyncio.create_task(planes.model.post("/load_model", json={"name": "org/new", "library": ST}))
    await asyncio.sleep(0.02)
    assert (await planes.model.post("/unload_model", json={"name": "org/new"})).status_code == 200
    assert (await load).status_code == 404
    planes.export.hold = None
    await planes.load("org/new")


async def test_the_limit_of_loaded_models_names_them(tmp_path):
    async with running_planes(tmp_path, Settings(max_loaded_models=2)) as planes:
        await planes.load("org/a")
        await planes.load("org/b")
        answer = await planes.model.post("/load_model", json={"name": "org/c", "library": ST})
        assert answer.status_code == 400
        for word in ("org/a", "org/b", "MAX_LOADED_MODELS is 2"):
            assert word in answer.json()["message"]
        await planes.model.post("/unload_model", json={"name": "org/a"})
        await planes.load("org/c")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SourceNotFoundError("No such model."), 404),
        (SourceForbiddenError("It is gated; set HF_TOKEN."), 400),
        (UnsupportedModelError("Longformer cannot be converted."), 400),
        (VerificationError("The graph differs by 0.3."), 500),
    ],
)
async def test_a_load_that_fails_says_why_and_can_be_tried_again(planes, error, status):
    planes.export.error = error
    answer = await planes.model.post("/load_model", json={"name": "org/new", "library": ST})
    assert answer.status_code == status
    assert answer.json()["message"] == error.message
    assert [m["name"] for m in (await planes.model.get("/repository_models")).json()["models"]] == ["org/model"]
    planes.export.error = None
    await planes.load("org/new")


async def test_another_revision_under_the_same_name_is_refused(planes):
    body = {"name": "org/model", "library": ST, "revision": "v2"}
    answer = await planes.model.post("/load_model", json=body)
    assert answer.status_code == 400
    assert "revision" in answer.json()["message"]


@pytest.mark.parametrize("body", [{"name": "a"}, {"name": "a", "library": "keras"}, {"library": ST}, {}])
async def test_a_wrong_load_is_400(planes, body):
    assert (await planes.model.post("/load_model", json=body)).status_code == 400
