"""`ingrain models`, `load`, `unload`, `delete`: against real planes in this process."""

import json

import pytest


async def test_models_are_listed_with_their_states(ingrain, planes):
    status, printed, _ = await ingrain("models")
    assert status == 0
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["NAME", "LIBRARY", "MEMORY", "STATE"]
    assert ["org/model", "sentence_transformers", "0", "MiB", "READY"] in lines
    await planes.model.post("/unload_model", json={"name": "net"})
    _, printed, _ = await ingrain("models", "--json")
    states = {model["name"]: model["state"] for model in json.loads(printed)["models"]}
    assert states == {"org/model": "READY", "clip": "READY", "net": "UNAVAILABLE"}


async def test_a_model_is_loaded_unloaded_and_deleted(ingrain, planes):
    assert (await ingrain("load", "other"))[:2] == (0, "Model other is loaded.\n")
    assert planes.export.runs[-1].library == "sentence_transformers"
    status, printed, _ = await ingrain("load", "open_clip:ViT@tag", "--json")
    assert (status, json.loads(printed)["library"]) == (0, "open_clip")
    assert (planes.export.runs[-1].name, planes.export.runs[-1].pretrained) == ("ViT", "tag")
    await ingrain("load", "third", "--library", "timm")
    assert planes.export.runs[-1].library == "timm"
    await ingrain("load", "fourth", "--revision", "v2")
    assert planes.export.runs[-1].revision == "v2"
    await ingrain("load", "fourth#int8")
    assert planes.export.runs[-1].precision == "int8"
    assert "fourth#int8" in (await ingrain("models"))[1]
    await ingrain("load", "open_clip:ViT#int8", "--pretrained", "tag")
    assert (planes.export.runs[-1].precision, planes.export.runs[-1].pretrained) == ("int8", "tag")
    await ingrain("load", "fourth", "--precision", "fp32")
    assert planes.export.runs[-1].precision == "fp32"
    await ingrain("load", "third", "--library", "timm", "--task", "embed")
    assert (planes.export.runs[-1].name, planes.export.runs[-1].task) == ("third", "embed")
    assert (await ingrain("unload", "ViT", "--pretrained", "tag"))[1] == "Model ViT unloaded successfully.\n"
    assert (await ingrain("delete", "open_clip:ViT@tag", "--yes"))[:2] == (0, "Model ViT deleted successfully.\n")
    assert "ViT" not in (await ingrain("models"))[1]


async def test_nothing_is_deleted_where_nobody_can_be_asked(ingrain, planes):
    status, _, complained = await ingrain("delete", "net")
    assert (status, "--yes" in complained) == (2, True)
    assert "net" in (await ingrain("models"))[1]


async def test_the_servers_refusals_are_told_with_their_codes(ingrain):
    status, _, complained = await ingrain("unload", "nope")
    assert (status, complained.startswith("ingrain: Model 'nope' is not loaded")) == (1, True)
    status, printed, complained = await ingrain("unload", "nope", "--json")
    error = json.loads(complained)["error"]
    assert (status, printed, error["code"]) == (1, "", "model_not_loaded")
    assert error["requestId"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["load", "timm:net", "--library", "open_clip"],
        ["load", "open_clip:net@a", "--pretrained", "b"],
        ["load", "net@a", "--revision", "b"],
        ["load", "net#int8", "--precision", "fp32"],
        ["load", "net", "--precision", "int4"],
        ["load", "net", "--library", "timm", "--task", "segment"],
        ["load", ""],
        ["load", "net", "--library", "nonsense"],
        ["models", "--model-url", "nonsense"],
        ["nonsense"],
        [],
    ],
)
async def test_wrong_usage_is_status_2(ingrain, arguments):
    status, _, complained = await ingrain(*arguments)
    assert status == 2
    assert complained


async def test_no_server_is_status_3(ingrain):
    status, _, complained = await ingrain("models", "--model-url", "http://127.0.0.1:1")
    assert (status, "No server answers at http://127.0.0.1:1" in complained) == (3, True)


@pytest.mark.parametrize("command", ["serve", "bench", "models", "load", "unload", "delete", "embed"])
async def test_every_command_explains_itself_with_examples(ingrain, command):
    status, printed, _ = await ingrain(command, "--help")
    assert status == 0
    assert "examples:\n  ingrain " in printed
