"""Models that requests load and unload, over HTTP: every dialect, Ollama's keep_alive, lists and refusals."""

import asyncio

import pytest

from ingrain.settings import Settings
from keys_files import entry, secret, write_keys
from planes import running_planes

ST, MODEL, OTHER = "sentence_transformers", "org/model", "org/other"
WAIT_S = 60


@pytest.fixture
async def planes(tmp_path):
    """Planes on which requests load models, with two stored ones of which none is loaded."""
    async with running_planes(tmp_path, Settings(load_on_demand=True)) as planes:
        for name in (MODEL, OTHER):
            await planes.load(name)
            await planes.model.post("/unload_model", json={"name": name})
        yield planes


async def loaded(planes):
    return [model["name"] for model in (await planes.model.get("/loaded_models")).json()["models"]]


async def until_loaded(planes, names):
    async with asyncio.timeout(WAIT_S):
        while await loaded(planes) != names:
            await asyncio.sleep(0.02)


REQUESTS = {
    "native": ("/embed_text", {"name": MODEL, "text": "red"}),
    "large": ("/embed_text", {"name": MODEL, "text": ["red"] * 200}),
    "first generation": ("/infer_text", {"name": MODEL, "text": "red"}),
    "OpenAI": ("/v1/embeddings", {"model": MODEL, "input": "red"}),
    "TEI": (f"/tei/{MODEL}/embed", {"inputs": "red"}),
    "TEI's root": (f"/tei/{MODEL}", {"inputs": "red"}),
    "Ollama": ("/api/embed", {"model": MODEL, "input": "red"}),
    "Ollama's description": ("/api/show", {"model": MODEL}),
    "Cohere": ("/v2/embed", {"model": MODEL, "texts": ["red"], "input_type": "classification"}),
    "KServe": (
        f"/v2/models/{MODEL}/infer",
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["red"]}]},
    ),
    "vLLM": ("/pooling", {"model": MODEL, "input": "red"}),
}


@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS)
async def test_a_request_of_any_dialect_loads_its_model(planes, path, body):
    answer = await planes.inference.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert await loaded(planes) == [MODEL]
    assert (
        'ingrain_model_moves_total{reason="demand"} 1.0'
        in (await planes.inference.get("/metrics", headers={"Accept": "text/plain"})).text
    )


async def test_a_name_that_is_not_in_the_repository_stays_404_and_a_look_loads_nothing(planes):
    assert (await planes.embed("red", name="org/absent")).status_code == 404
    assert (await planes.inference.get(f"/v2/models/{MODEL}/ready")).status_code == 404
    assert (await planes.inference.get(f"/tei/{MODEL}/health")).status_code == 404
    assert (await planes.inference.get("/ready", params={"model": MODEL})).status_code == 404
    assert await loaded(planes) == []


async def test_without_the_setting_a_stored_model_is_not_loaded(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load()
        await planes.model.post("/unload_model", json={"name": MODEL})
        assert (await planes.embed("red")).status_code == 404


async def test_ollamas_keep_alive_unloads_a_model_and_loads_it_without_a_text(planes):
    answer = await planes.inference.post("/api/embed", json={"model": f"{MODEL}:latest", "keep_alive": "10m"})
    assert answer.status_code == 200
    assert await loaded(planes) == [MODEL]
    body = {"model": MODEL, "input": "red", "keep_alive": 0}
    assert (await planes.inference.post("/api/embed", json=body)).status_code == 200
    await until_loaded(planes, [])
    answer = await planes.inference.post("/api/embed", json={**body, "keep_alive": "soon"})
    assert (answer.status_code, "keep_alive" in answer.json()["error"]) == (400, True)
    assert (await planes.inference.post("/api/embed", json={**body, "keep_alive": -1})).status_code == 200
    assert await loaded(planes) == [MODEL]


async def test_ollamas_keep_alive_counts_only_for_keys_that_may_change_models(tmp_path):
    path = write_keys(tmp_path / "keys.json", entry("reader"), entry("keeper", scopes=("infer", "models")))
    settings = Settings(load_on_demand=True, keys_file=path, api_keys=("plain:infer", "full"))
    async with running_planes(tmp_path / "root", settings) as planes:
        await planes.load(key="full")
        (slot,) = planes.services.registry.slots
        body = {"model": MODEL, "input": "red", "keep_alive": -1}
        for key, kept in ((secret("reader"), None), ("plain", None), (secret("keeper"), -1.0), ("full", -1.0)):
            slot.keep_alive_s = None
            headers = {"authorization": f"Bearer {key}"}
            assert (await planes.inference.post("/api/embed", json=body, headers=headers)).status_code == 200
            assert slot.keep_alive_s == kept


async def test_the_only_model_is_the_default_one_also_while_it_rests(tmp_path):
    async with running_planes(tmp_path, Settings(load_on_demand=True)) as planes:
        await planes.load()
        await planes.inference.post("/api/embed", json={"model": MODEL, "keep_alive": 0})
        await until_loaded(planes, [])
        answer = await planes.inference.post("/embed", json={"inputs": "red"})
        assert answer.status_code == 200, answer.text
        assert await loaded(planes) == [MODEL]


async def test_load_model_takes_a_pin_and_a_duration_and_the_lists_tell_the_pin(planes):
    body = {"name": MODEL, "library": ST, "pin": True, "keepAlive": "1h30m"}
    assert (await planes.model.post("/load_model", json=body)).status_code == 200
    (model,) = (await planes.model.get("/loaded_models")).json()["models"]
    assert (model["pinned"], model["memoryBytes"]) == (True, 1000)
    answer = await planes.model.post("/load_model", json={**body, "keepAlive": "long"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "keepAlive"


async def test_a_model_that_does_not_fit_is_a_400_to_a_command_and_a_503_to_a_request(tmp_path):
    settings = Settings(load_on_demand=True, model_memory="100")
    async with running_planes(tmp_path, settings) as planes:
        answer = await planes.model.post("/load_model", json={"name": MODEL, "library": ST})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "model_memory_limit_reached"
        answer = await planes.embed("red")
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
