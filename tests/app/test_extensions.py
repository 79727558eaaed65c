"""Engines, tasks and dialects that are no part of Ingrain: a module each, named in INGRAIN_EXTENSIONS."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

import toy_dialect
import toy_engine
from ingrain.app.parts import check_workers
from ingrain.app.placement import make_engine, placement_of
from ingrain.app.tables import load_tables
from ingrain.errors import SettingsError
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Repository
from ingrain.settings import Settings
from planes import ids_of, stage_model
from processes import serve


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`ingrain serve` with the three toys, and a stored model whose graph no ONNX Runtime could read."""
    root = tmp_path_factory.mktemp("toys")
    repository = Repository(root / "repository")
    repository.prepare()
    with repository.staging() as folder:
        stage_model(folder, ModelRef(name="org/model"))
        repository.publish(folder)
    with serve(
        root,
        INGRAIN_EXTENSIONS="toy_engine,toy_task,toy_dialect",
        INGRAIN_ENGINE="toy",
        INGRAIN_REPOSITORY=str(repository.root),
        INGRAIN_MODELS="org/model",
        INGRAIN_INFERENCE_PORT="0",
        INGRAIN_MODEL_PORT="0",
        PYTHONPATH=os.pathsep.join([str(Path(toy_engine.__file__).parent), *sys.path]),
    ) as server:
        yield server


def test_an_engine_from_outside_embeds_texts_over_http(server):
    server.wait_until_ready(60)
    texts = ["red green", "blue", "red red red green"]
    answer = server.embed(texts, "org/model", normalize=False)
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(answer.json()["embeddings"], [toy_engine.toy_vector(ids_of(text)) for text in texts])
    metrics = httpx.get(f"{server.inference}/metrics").text
    assert "org/model" in metrics


def unit(text: str) -> np.ndarray:
    vector = toy_engine.toy_vector(ids_of(text))
    return vector / np.linalg.norm(vector)


def test_a_task_from_outside_answers_over_http(server):
    """Its route is one of Ingrain's own API: with that API's errors and limits, and in the OpenAPI document."""
    server.wait_until_ready(60)
    pairs = [["red green", "green red"], ["red", "blue blue"]]
    answer = httpx.post(f"{server.inference}/similarity", json={"name": "org/model", "pairs": pairs})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["cosines"], [unit(a) @ unit(b) for a, b in pairs], atol=1e-6)
    wrong = httpx.post(f"{server.inference}/similarity", json={"name": "org/model", "pair": pairs})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "pair")
    assert "/similarity" in httpx.get(f"{server.inference}/openapi.json").json()["paths"]


def test_a_dialect_from_outside_answers_over_http(server):
    """It has a route, and its own words for errors, also where its path leads nowhere."""
    server.wait_until_ready(60)
    url = f"{server.inference}/toy"
    answer = httpx.post(f"{url}/vector", json={"model": "org/model", "text": "red green"})
    np.testing.assert_allclose(np.fromstring(answer.json()["line"], sep=" "), unit("red green"), atol=1e-6)
    for status, wrong in (
        (404, httpx.post(f"{url}/vector", json={"model": "org/other", "text": "red"})),
        (404, httpx.post(f"{url}/nothing", json={})),
        (400, httpx.post(f"{url}/vector", json={"model": "org/model"})),
    ):
        assert wrong.status_code == status
        assert wrong.json()["shout"] == wrong.json()["shout"].upper()
    assert "error" in httpx.post(f"{server.inference}/nothing", json={}).json()


@pytest.mark.parametrize(
    ("extensions", "said"),
    [
        (("no_such_module",), "no_such_module"),
        (("toy_engine", "toy_engine"), "'toy'"),
        (("toy_task", "toy_task"), "/similarity"),
        (("toy_dialect", "toy_task", "toy_dialect"), "/toy/vector"),
    ],
)
def test_what_cannot_be_added_is_refused_at_start(extensions, said):
    with pytest.raises(SettingsError, match=said):
        load_tables(extensions)


@pytest.mark.parametrize("change", [{"scope": None}, {"limited": False}])
def test_a_route_beside_another_needs_its_key_and_its_limit(monkeypatch, change):
    """Both are checked before the body says which of the routes is meant."""
    (toy,) = toy_dialect.DIALECTS
    routes = [replace(route, **change) if route.told_by else route for route in toy.routes]
    module = SimpleNamespace(DIALECTS=(replace(toy, routes=routes),))
    monkeypatch.setitem(sys.modules, "open_dialect", module)
    with pytest.raises(SettingsError, match="another `scope` or `limited`"):
        load_tables(("open_dialect",))


def test_an_engines_entry_holds_everywhere():
    """It is taken when it is named, shares no process with workers, and is no choice where it is not registered."""
    engines = load_tables(("toy_engine",)).engines
    placement = placement_of(Settings(engine="toy"), engines)
    assert (placement.identity, placement.description, placement.on_this_cpu) == ("toy", "a toy", True)
    with pytest.raises(SettingsError, match=r"INGRAIN_WORKERS is 2, but graphs run on a toy"):
        check_workers(Settings(engine="toy", workers=2), placement, make_engine(Settings(), placement, engines))
    with pytest.raises(SettingsError, match="one of auto, triton, embedded, onnxruntime, toy"):
        placement_of(Settings(engine="top"), engines)
    with pytest.raises(SettingsError, match="INGRAIN_ENGINE"):
        placement_of(Settings(engine="toy"), load_tables(()).engines)


def test_an_engine_that_workers_cannot_connect_to_is_refused_for_several_workers():
    """It runs outside the server's process but has no address: the workers would be left without an engine."""
    engines = {"toy": replace(toy_engine.ENGINES["toy"], in_server_process=False)}
    settings = Settings(engine="toy", workers=2)
    placement = placement_of(settings, engines)
    engine = make_engine(settings, placement, engines)
    with pytest.raises(SettingsError, match="workers cannot connect to a toy"):
        check_workers(settings, placement, engine)
    check_workers(Settings(engine="toy"), placement, engine)
