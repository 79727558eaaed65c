"""Precision over HTTP: what cannot be served here is a 400 that says why, and lists tell what is."""

import pytest

from ingrain.app.placement import placement_of
from ingrain.app.precision import check_precisions
from ingrain.errors import SettingsError
from ingrain.repository.models_to_load import ModelRef
from ingrain.settings import Settings
from planes import running_planes

ST = "sentence_transformers"
ON_GPU = Settings(instance_kind="KIND_GPU", triton_grpc_url="127.0.0.1:1")


async def test_lists_tell_a_precision_that_is_not_fp32(planes):
    body = {"name": "org/model", "library": ST, "precision": "int8"}
    assert "loaded successfully" in (await planes.model.post("/load_model", json=body)).json()["message"]
    assert "already loaded" in (await planes.model.post("/load_model", json=body)).json()["message"]
    told = {"name": "org/model", "library": ST, "precision": "int8"}
    is_loaded = {**told, "memoryBytes": 1000}
    assert (await planes.model.get("/loaded_models")).json() == {"models": [is_loaded]}
    assert (await planes.model.get("/repository_models")).json() == {"models": [{**is_loaded, "state": "READY"}]}
    await planes.model.post("/unload_model", json={"name": "org/model"})
    assert (await planes.model.get("/repository_models")).json() == {"models": [{**told, "state": "UNAVAILABLE"}]}


@pytest.mark.parametrize(
    ("settings", "library", "precision", "said"),
    [
        (Settings(), ST, "fp16", "needs a GPU"),
        (Settings(instance_kind="KIND_CPU"), ST, "fp16", "graphs run on the CPU"),
        (Settings(engine="onnxruntime", instance_kind="KIND_GPU"), ST, "fp16", "needs a GPU"),
        (ON_GPU, ST, "int8", "is for CPUs"),
        (Settings(), "timm", "int8-safe", "images"),
        (Settings(), ST, "int4", "precision"),
    ],
)
async def test_a_precision_that_cannot_be_served_here_is_refused_before_anything_is_made(
    tmp_path, settings, library, precision, said
):
    async with running_planes(tmp_path, settings) as planes:
        body = {"name": "org/new", "library": library, "precision": precision}
        answer = await planes.model.post("/load_model", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "precision"
        assert said in answer.json()["message"]
        assert planes.export.runs == []


async def test_fp16_is_made_where_graphs_run_on_a_gpu(tmp_path):
    async with running_planes(tmp_path, ON_GPU) as planes:
        body = {"name": "org/new", "library": "timm", "precision": "fp16"}
        assert (await planes.model.post("/load_model", json=body)).status_code == 200
        assert [ref.precision for ref in planes.export.runs] == ["fp16"]


@pytest.mark.parametrize(
    ("settings", "models", "said"),
    [
        (Settings(precision="fp16"), [], "INGRAIN_PRECISION is 'fp16'"),
        (Settings(), [ModelRef(name="a", precision="fp16")], "INGRAIN_MODELS asks for 'a' in 'fp16'"),
        (Settings(), [ModelRef(name="a", library="timm", precision="int8")], "INGRAIN_MODELS"),
    ],
)
def test_settings_that_ask_for_what_cannot_be_served_stop_the_server(settings, models, said):
    with pytest.raises(SettingsError, match=said):
        check_precisions(settings, placement_of(settings), models)
