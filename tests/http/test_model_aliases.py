"""Further names of models in requests, for tools with fixed model names."""

import pytest

from ingrain.app.limits import model_aliases
from ingrain.errors import SettingsError
from ingrain.settings import Settings
from planes import running_planes

ALIAS = "text-embedding-3-small"
SETTINGS = Settings(model_aliases=(f"{ALIAS}=org/model", "other=org/missing", "org/second = org/model"))


@pytest.fixture
async def planes(tmp_path):
    async with running_planes(tmp_path, SETTINGS) as planes:
        await planes.load()
        yield planes


async def test_an_alias_gives_the_models_vectors_and_the_answer_has_the_name_that_was_sent(planes):
    body = {"model": ALIAS, "input": ["red", "green blue"]}
    mine = (await planes.inference.post("/v1/embeddings", json=body)).json()
    theirs = (await planes.inference.post("/v1/embeddings", json=body | {"model": "org/model"})).json()
    assert (mine["data"], mine["model"], theirs["model"]) == (theirs["data"], ALIAS, "org/model")
    native = await planes.embed("red", name=ALIAS)
    assert native.json()["embeddings"] == (await planes.embed("red")).json()["embeddings"]


async def test_the_list_of_models_has_the_aliases_of_loaded_models(planes):
    listed = {model["id"]: model for model in (await planes.inference.get("/v1/models")).json()["data"]}
    assert list(listed) == ["org/model", ALIAS, "org/second"]
    assert {**listed[ALIAS], "id": ""} == {**listed["org/model"], "id": ""}
    assert (await planes.inference.get(f"/v1/models/{ALIAS}")).json() == listed[ALIAS]
    assert (await planes.inference.get("/v1/models/other")).status_code == 404
    assert (await planes.inference.get("/ready", params={"model": ALIAS})).status_code == 200


async def test_a_model_of_that_name_comes_first(planes):
    await planes.load("org/second")
    listed = [model["id"] for model in (await planes.inference.get("/v1/models")).json()["data"]]
    assert listed == ["org/model", "org/second", ALIAS]


async def test_an_alias_of_a_model_that_is_not_loaded_is_not_found(planes):
    answer = await planes.inference.post("/v1/embeddings", json={"model": "other", "input": "red"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_any_name_may_have_ollamas_tag_latest(planes):
    """Tools that find names in Ollama's lists embed with them by OpenAI's API, too."""
    for name in ("org/model:latest", f"{ALIAS}:latest"):
        answer = await planes.inference.post("/v1/embeddings", json={"model": name, "input": "red"})
        assert (answer.status_code, answer.json()["model"]) == (200, name)
    for name in ("org/model:v1", "latest", ":latest", "absent:latest"):
        answer = await planes.inference.post("/v1/embeddings", json={"model": name, "input": "red"})
        assert (answer.status_code, answer.json()["error"]["model"]) == (404, name)


async def test_commands_take_no_alias(planes):
    answer = await planes.model.post("/unload_model", json={"name": ALIAS, "library": "sentence_transformers"})
    assert answer.status_code == 404
    assert (await planes.embed("red")).status_code == 200


@pytest.mark.parametrize("entry", ["small", "=org/model", "small=", " = "])
def test_an_entry_without_both_names_stops_the_start(entry):
    with pytest.raises(SettingsError, match="INGRAIN_MODEL_ALIASES has"):
        model_aliases(Settings(model_aliases=(entry,)))


@pytest.mark.parametrize(
    ("entries", "said"),
    [(("a=x", "a=y"), "'a' twice"), (("a=b", "b=c"), "'b', which is an alias"), (("a=a",), "which is an alias")],
)
def test_aliases_that_contradict_each_other_stop_the_start(entries, said):
    with pytest.raises(SettingsError, match=said):
        model_aliases(Settings(model_aliases=entries))
