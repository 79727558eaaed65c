"""`POST /download_custom_model`: whole or not at all, and every refusal names its field."""

import asyncio
import json

import pytest

from custom_files import CLIP, ST, TIMM, WEIGHTS, body_of, nothing_left, safetensors, serve_files
from ingrain.settings import Settings
from picture_server import PictureServer, answer, cut_short, redirect, silence, slow_drip
from planes import running_planes


@pytest.fixture
async def host():
    async with PictureServer() as server:
        serve_files(server)
        yield server


@pytest.fixture
async def planes(tmp_path, host):
    async with running_planes(tmp_path / "repository", allowing(host)) as planes:
        yield planes


def allowing(host, **changes):
    return Settings(fetch_allow=(f"127.0.0.1:{host.port}",), **changes)


async def download(planes, body):
    return await planes.model.post("/download_custom_model", json=body)


async def listed(planes):
    """The models of the repository, without what they take."""
    models = (await planes.model.get("/repository_models")).json()["models"]
    return [{key: value for key, value in model.items() if key != "memoryBytes"} for model in models]


async def refused(planes, body, *words, status=400, param=None):
    """The answer is that error, and the name is as free as before."""
    answer = await download(planes, body)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()["message"]
    assert answer.json()["error"]["param"] == param
    assert nothing_left(planes.services.registry.repository.root)
    assert await listed(planes) == []


def folder_of(planes):
    (folder,) = (planes.services.registry.repository.root / "custom").iterdir()
    return folder / "files"


@pytest.mark.parametrize("library", [ST, CLIP, TIMM])
async def test_a_downloaded_model_is_listed_loaded_and_deleted(planes, host, library):
    """The life of a custom model, by the phrases of the contract."""
    answer = await download(planes, body_of(host, library))
    assert answer.status_code == 200, answer.text
    assert "downloaded successfully" in answer.json()["message"]
    assert await listed(planes) == [{"name": "mine", "library": library, "state": "UNAVAILABLE"}]
    await planes.load("mine", library)
    task = {"task": "classify"} if library == TIMM else {}
    assert await listed(planes) == [{"name": "mine", "library": library, "state": "READY", **task}]
    answer = await planes.model.request("DELETE", "/delete_model", json={"name": "mine"})
    assert "deleted successfully" in answer.json()["message"]
    assert await listed(planes) == []
    assert nothing_left(planes.services.registry.repository.root)


async def test_a_model_that_was_never_loaded_can_be_deleted_and_downloaded_again(planes, host):
    for _ in range(2):
        assert (await download(planes, body_of(host, ST))).status_code == 200
        answer = await planes.model.request("DELETE", "/delete_model", json={"name": "mine", "library": ST})
        assert answer.status_code == 200
    assert nothing_left(planes.services.registry.repository.root)


async def test_fields_are_taken_in_snake_case(planes, host):
    body = body_of(host, TIMM)
    body = {
        "name": "mine",
        "library": TIMM,
        "safetensors_url": body["safetensorsUrl"],
        "config_json_url": body["configJsonUrl"],
        "num_classes": 2,
        "mean": None,
    }
    assert (await download(planes, body)).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/model.safetensors",
        "file:///etc/passwd",
        "http://127.0.0.1:1/model.safetensors",
        "http://169.254.169.254/latest",
        "http://localhost/model.safetensors",
        "http://[::1]/x",
        "http://a\\@b/",
    ],
)
@pytest.mark.parametrize("field", ["safetensorsUrl", "configJsonUrl", "tokenizerJsonUrl"])
async def test_urls_that_lead_inside_are_refused(planes, host, url, field):
    await refused(planes, body_of(host, ST, **{field: url}), field, param=field)


async def test_a_redirect_to_a_private_address_is_refused(planes, host):
    async with PictureServer() as inside:
        host.replies["/model.safetensors"] = redirect(inside.url("/"))
        await refused(planes, body_of(host, ST), param="safetensorsUrl")
        assert inside.connections == 0


async def test_a_redirect_on_the_same_host_is_followed(planes, host):
    host.replies |= {"/new": answer(WEIGHTS), "/model.safetensors": redirect("/new")}
    assert (await download(planes, body_of(host, ST))).status_code == 200


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (answer(b"", status=404), "404"),
        (answer(b"", status=500), "500"),
        (cut_short(WEIGHTS), "broke off"),
        (answer(b"PK\x03\x04\x14\x00\x00\x00" + bytes(99)), "pickle"),
        (answer(b"PK\x03\x04" + bytes(99)), "pickle"),
        (answer(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."), "pickle"),
        (answer(WEIGHTS[:-1]), "1 of its bytes"),
        (answer(WEIGHTS[:20]), "cut short"),
        (answer(WEIGHTS + b"x"), "follow"),
        (answer(b"<html>not found</html>"), "no safetensors"),
        (answer(b""), "no safetensors"),
        (answer(safetensors({})), "single tensor"),
        (answer(WEIGHTS, headers={"Content-Encoding": "gzip"}), "compressed"),
    ],
)
async def test_weights_that_do_not_come_as_whole_safetensors(planes, host, reply, word):
    """Broken hosts and wrong files alike: a 400 that says what, and the name stays free."""
    host.replies["/model.safetensors"] = reply
    await refused(planes, body_of(host, ST), "safetensorsUrl", word, param="safetensorsUrl")
    host.replies["/model.safetensors"] = answer(WEIGHTS)
    assert (await download(planes, body_of(host, ST))).status_code == 200


async def test_weights_over_the_limit_are_413_however_they_are_sent(tmp_path, host):
    settings = allowing(host, max_download_bytes=len(WEIGHTS) - 1)
    async with running_planes(tmp_path / "repository", settings) as planes:
        body = body_of(host, ST)
        await refused(planes, body, "INGRAIN_MAX_DOWNLOAD_BYTES", status=413, param="safetensorsUrl")
    settings = allowing(host, max_download_bytes=len(WEIGHTS))
    async with running_planes(tmp_path / "repository", settings) as planes:
        assert (await download(planes, body)).status_code == 200


async def test_the_side_files_have_limits_of_their_own(planes, host):
    host.replies["/config.json"] = answer(b'{"model_type": "bert"}'.ljust(5 * 1024 * 1024 + 1))
    await refused(planes, body_of(host, ST), str(5 * 1024 * 1024), status=413, param="configJsonUrl")


@pytest.mark.parametrize("reply", [silence(), slow_drip(WEIGHTS, 0.1)])
async def test_the_deadline_is_that_of_all_files_together(tmp_path, host, reply):
    host.replies["/model.safetensors"] = reply
    async with running_planes(tmp_path / "repository", allowing(host, download_timeout_s=0.3)) as planes:
        await refused(planes, body_of(host, ST), "INGRAIN_DOWNLOAD_TIMEOUT_S", param="safetensorsUrl")


async def test_without_fetching_there_are_no_downloads(tmp_path, host):
    async with running_planes(tmp_path / "repository", allowing(host, image_fetch="off")) as planes:
        await refused(planes, body_of(host, ST), "INGRAIN_IMAGE_FETCH=off", param="safetensorsUrl")
        assert host.connections == 0


@pytest.mark.parametrize(
    ("library", "changes", "param"),
    [
        (ST, {"configJsonUrl": None}, "configJsonUrl"),
        (ST, {"tokenizerJsonUrl": None}, "tokenizerJsonUrl"),
        (ST, {"safetensorsUrl": None}, "safetensorsUrl"),
        (ST, {"mean": [0.5, 0.5, 0.5]}, "mean"),
        (ST, {"numClasses": 3}, "numClasses"),
        (ST, {"pretrained": "tag"}, "pretrained"),
        (ST, {"configJsonUrl": "/vocab.txt"}, "configJsonUrl"),
        (ST, {"configJsonUrl": "/timm.json"}, "configJsonUrl"),
        (ST, {"tokenizerJsonUrl": "/config.json"}, "tokenizerJsonUrl"),
        (ST, {"vocabTxtUrl": "/model.safetensors"}, "vocabTxtUrl"),
        (ST, {"modulesJsonUrl": "/config.json"}, "modulesJsonUrl"),
        (ST, {"name": "../mine"}, "name"),
        (ST, {"name": "/mine"}, "name"),
        (ST, {"name": "a//b"}, "name"),
        (ST, {"name": "hf-hub:org/model"}, "name"),
        (ST, {"name": "a b"}, "name"),
        (ST, {"name": "a\nb"}, "name"),
        (ST, {"name": "x" * 201}, "name"),
        (ST, {"safetensorUrl": "http://example.com"}, "safetensorUrl"),
        (CLIP, {"numClasses": 3}, "numClasses"),
        (CLIP, {"poolingConfigJsonUrl": "/pooling.json"}, "poolingConfigJsonUrl"),
        (CLIP, {"mode": "L"}, "mode"),
        (CLIP, {"mean": [0.5, 0.5]}, "mean"),
        (CLIP, {"mean": 0.5}, "mean"),
        (CLIP, {"mean": [0.5, "a", 0.5]}, "mean[1]"),
        (CLIP, {"std": [0.5, 0.5, 0]}, "std[2]"),
        (CLIP, {"std": [0.5, 0.5, -1]}, "std[2]"),
        (CLIP, {"interpolation": "lanczos"}, "interpolation"),
        (CLIP, {"interpolation": "random"}, "interpolation"),
        (CLIP, {"resizeMode": "stretch"}, "resizeMode"),
        (CLIP, {"configJsonUrl": "/config.json"}, "configJsonUrl"),
        (CLIP, {"tokenizerJsonUrl": "/tokenizer.json"}, "tokenizerJsonUrl"),
        (
            CLIP,
            {"configJsonUrl": "/hf_clip_config.json", "tokenizerJsonUrl": "/tokenizer.json"},
            "tokenizerConfigJsonUrl",
        ),
        (
            CLIP,
            {"configJsonUrl": "/hf_clip_config.json", "tokenizerConfigJsonUrl": "/tokenizer_config.json"},
            "tokenizerJsonUrl",
        ),
        (TIMM, {"numClasses": 0}, "numClasses"),
        (TIMM, {"numClasses": 2.5}, "numClasses"),
        (TIMM, {"resizeMode": "squash"}, "resizeMode"),
        (TIMM, {"interpolation": "cubic"}, "interpolation"),
        (TIMM, {"tokenizerJsonUrl": "/tokenizer.json"}, "tokenizerJsonUrl"),
        (TIMM, {"configJsonUrl": "/config.json"}, "configJsonUrl"),
    ],
)
async def test_a_wrong_field_is_named(planes, host, library, changes, param):
    await refused(planes, body_of(host, library, **changes), param=param)


async def test_numbers_too_large_for_a_float_are_refused(planes, host):
    content = json.dumps(body_of(host, CLIP, mean=[0, 0, 77])).replace("77", "1e999")
    answer = await planes.model.post("/download_custom_model", content=content)
    assert answer.status_code == 400
    assert nothing_left(planes.services.registry.repository.root)


@pytest.mark.parametrize(
    ("modules", "word"),
    [
        ([("evil.Module", "")], "evil.Module"),
        ([("sentence_transformers.models.Transformer", ""), ("os.path.models.Pooling", "")], "os.path"),
        ([("sentence_transformers.models.Transformer", ""), ("sentence_transformers.models.Dense", "")], "Dense"),
        ([("sentence_transformers.models.Pooling", "")], "Pooling"),
        ([], "no modules"),
    ],
)
async def test_modules_that_are_not_the_librarys_own_or_need_more_files_are_refused(planes, host, modules, word):
    host.replies["/modules.json"] = answer(json.dumps([{"type": t, "path": p} for t, p in modules]).encode())
    body = body_of(host, ST, modulesJsonUrl="/modules.json", poolingConfigJsonUrl="/pooling.json")
    await refused(planes, body, word, param="modulesJsonUrl")


async def test_modules_are_written_anew_so_that_no_folder_of_somebodys_choice_is_read(planes, host):
    kinds = ("models.Transformer", "sentence_transformer.modules.pooling.Pooling", "base.modules.Normalize")
    modules = [{"type": f"sentence_transformers.{kind}", "path": "../../../etc"} for kind in kinds]
    host.replies["/modules.json"] = answer(json.dumps(modules).encode())
    body = body_of(host, ST, modulesJsonUrl="/modules.json", poolingConfigJsonUrl="/pooling.json")
    assert (await download(planes, body)).status_code == 200
    written = json.loads((folder_of(planes) / "modules.json").read_bytes())
    assert [entry["path"] for entry in written] == ["", "1_Pooling", "2_Normalize"]
    assert json.loads((folder_of(planes) / "1_Pooling" / "config.json").read_bytes())["pooling_mode_cls_token"]


async def test_a_module_list_with_pooling_needs_its_configuration(planes, host):
    kinds = ("Transformer", "Pooling")
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in kinds]
    host.replies["/modules.json"] = answer(json.dumps(modules).encode())
    await refused(planes, body_of(host, ST, modulesJsonUrl="/modules.json"), param="poolingConfigJsonUrl")


async def test_pooling_is_the_mean_where_nothing_is_said(planes, host):
    assert (await download(planes, body_of(host, ST))).status_code == 200
    pooling = json.loads((folder_of(planes) / "1_Pooling" / "config.json").read_bytes())
    assert pooling == {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}


async def test_paths_in_a_tokenizers_configuration_are_taken_out(planes, host):
    """Otherwise `vocab_file` would make the library read a file of this machine."""
    body = body_of(host, ST, tokenizerConfigJsonUrl="/tokenizer_config.json")
    assert (await download(planes, body)).status_code == 200
    assert "passwd" not in (folder_of(planes) / "tokenizer_config.json").read_text()


@pytest.mark.parametrize("levels", [120, 900, 985, 1000, 100_000])
async def test_json_nested_without_end_is_refused(planes, host, levels):
    host.replies["/deep.json"] = answer(b'{"a":' * levels + b"1" + b"}" * levels)
    body = body_of(host, ST, tokenizerConfigJsonUrl="/deep.json")
    await refused(planes, body, param="tokenizerConfigJsonUrl")


@pytest.mark.parametrize(
    "options",
    [
        {"tokenizer_args": {"vocab_file": "passwd"}},
        {"tokenizer_args": {"anything": "/etc/passwd"}},
        {"config_args": {"subfolder": ".."}},
        {"config_args": {"list": [{"deep": "../x"}]}},
    ],
)
async def test_options_that_lead_to_files_of_this_machine_are_refused(planes, host, options):
    host.replies["/options.json"] = answer(json.dumps(options).encode())
    body = body_of(host, ST, sentenceBertConfigJsonUrl="/options.json")
    await refused(planes, body, param="sentenceBertConfigJsonUrl")


async def test_a_tokenizer_that_is_code_is_refused(planes, host):
    host.replies["/tokenizer_config.json"] = answer(b'{"auto_map": {"AutoTokenizer": "evil.Tokenizer"}}')
    body = body_of(host, ST, tokenizerConfigJsonUrl="/tokenizer_config.json")
    await refused(planes, body, "auto_map", param="tokenizerConfigJsonUrl")


async def test_preprocessing_of_the_request_overrides_an_open_clip_configuration(planes, host):
    changes = {
        "mean": [0, 0.5, 1],
        "std": [1, 1, 2],
        "interpolation": "bilinear",
        "resizeMode": "squash",
        "mode": "RGB",
    }
    body = body_of(host, CLIP, configJsonUrl="/hf_clip_config.json", **changes)
    assert (await download(planes, body)).status_code == 200
    written = json.loads((folder_of(planes) / "open_clip_config.json").read_bytes())["preprocess_cfg"]
    assert written == {
        "size": 64,
        "mean": [0, 0.5, 1],
        "std": [1, 1, 2],
        "interpolation": "bilinear",
        "resize_mode": "squash",
        "mode": "RGB",
    }


async def test_the_head_and_preprocessing_of_the_request_override_a_timm_configuration(planes, host):
    body = body_of(host, TIMM, numClasses=7, mean=[0, 0, 0], interpolation="lanczos")
    assert (await download(planes, body)).status_code == 200
    written = json.loads((folder_of(planes) / "config.json").read_bytes())
    trained = {"input_size": [3, 64, 64], "num_classes": 7, "mean": [0, 0, 0], "interpolation": "lanczos"}
    assert written == {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": trained}


async def test_labels_stay_where_the_head_stays(planes, host):
    assert (await download(planes, body_of(host, TIMM, numClasses=2))).status_code == 200
    assert json.loads((folder_of(planes) / "config.json").read_bytes())["label_names"] == ["a", "b"]


async def test_a_name_is_downloaded_once(planes, host):
    assert (await download(planes, body_of(host, ST))).status_code == 200
    answer = await download(planes, body_of(host, ST))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "model_conflict"
    assert "DELETE /delete_model" in answer.json()["message"]


async def test_a_name_in_the_repository_is_taken(planes, host):
    await planes.load("mine", ST)
    answer = await download(planes, body_of(host, ST))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_conflict")


async def test_a_local_folders_name_is_taken(tmp_path, host):
    (tmp_path / "local" / "mine").mkdir(parents=True)
    settings = allowing(host, local_models_dir=tmp_path / "local")
    async with running_planes(tmp_path / "repository", settings) as planes:
        await refused(planes, body_of(host, ST), "local models", param="name")


async def test_a_name_that_is_being_loaded_is_taken(planes, host):
    planes.export.hold = asyncio.Event()
    load = asyncio.create_task(planes.load("mine", ST))
    while not planes.export.runs:
        await asyncio.sleep(0.01)
    answer = await download(planes, body_of(host, ST))
    planes.export.hold.set()
    await load
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_conflict")
    assert "being loaded" in answer.json()["message"]


async def test_a_second_download_of_the_name_is_refused_while_the_first_goes_on(planes, host):
    """The first is seen in the list with what it has received, and is not disturbed."""
    go_on = asyncio.Event()

    async def held(writer):
        await go_on.wait()
        await answer(WEIGHTS)(writer)

    host.replies["/model.safetensors"] = held
    first = asyncio.create_task(download(planes, body_of(host, ST)))
    while not any(hit.target == "/model.safetensors" for hit in host.hits):
        await asyncio.sleep(0.01)
    second = await download(planes, body_of(host, ST))
    assert (second.status_code, second.json()["error"]["code"]) == (400, "model_conflict")
    (model,) = await listed(planes)
    assert (model["name"], model["state"]) == ("mine", "UNAVAILABLE")
    assert "being downloaded" in model["reason"]
    go_on.set()
    assert (await first).status_code == 200


async def test_a_name_taken_while_the_files_came_is_not_overwritten(planes, host):
    """Somebody loads a model of that name from elsewhere; the download finds out when it publishes."""

    async def meanwhile(writer):
        await planes.load("mine", ST)
        await answer(WEIGHTS)(writer)

    host.replies["/model.safetensors"] = meanwhile
    result = await download(planes, body_of(host, ST))
    assert (result.status_code, result.json()["error"]["code"]) == (400, "model_conflict")
    assert nothing_left(planes.services.registry.repository.root)
    assert [model["state"] for model in await listed(planes)] == ["READY"]


async def test_a_download_is_finished_when_the_caller_goes_away(planes, host):
    """As every request that changes the server's state."""
    go_on = asyncio.Event()

    async def held(writer):
        await go_on.wait()
        await answer(WEIGHTS)(writer)

    host.replies["/model.safetensors"] = held
    request = asyncio.create_task(download(planes, body_of(host, ST)))
    while not any(hit.target == "/model.safetensors" for hit in host.hits):
        await asyncio.sleep(0.01)
    request.cancel()
    await asyncio.sleep(0.1)
    go_on.set()
    async with asyncio.timeout(60):
        while await listed(planes) != [{"name": "mine", "library": ST, "state": "UNAVAILABLE"}]:
            await asyncio.sleep(0.02)


async def test_the_same_name_of_another_library_or_tag_is_another_model(planes, host):
    assert (await download(planes, body_of(host, ST))).status_code == 200
    assert (await download(planes, body_of(host, CLIP))).status_code == 200
    assert (await download(planes, body_of(host, CLIP, pretrained="tag"))).status_code == 200
    answer = await planes.model.request("DELETE", "/delete_model", json={"name": "mine"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_conflict")
    body = {"name": "mine", "library": CLIP, "pretrained": "tag"}
    assert (await planes.model.request("DELETE", "/delete_model", json=body)).status_code == 200
    assert [(m["library"], m.get("pretrained")) for m in await listed(planes)] in (
        [(ST, None), (CLIP, None)],
        [(CLIP, None), (ST, None)],
    )


async def test_a_damaged_custom_model_is_listed_with_its_reason_and_can_be_deleted(planes, host):
    await download(planes, body_of(host, ST))
    (folder_of(planes) / "model.safetensors").unlink()
    (model,) = await listed(planes)
    assert model["state"] == "UNAVAILABLE"
    assert "missing" in model["reason"]
    assert (await planes.model.request("DELETE", "/delete_model", json={"name": "mine"})).status_code == 200
    assert nothing_left(planes.services.registry.repository.root)


async def test_what_a_crash_left_is_removed_at_the_next_start(tmp_path, host):
    leftover = tmp_path / "repository" / "staging" / "0123" / "source" / "files"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(WEIGHTS[:10])
    (tmp_path / "repository" / "staging" / "0123.lock").touch()
    async with running_planes(tmp_path / "repository", allowing(host)) as planes:
        assert nothing_left(tmp_path / "repository")
        assert (await download(planes, body_of(host, ST))).status_code == 200


async def test_secrets_in_urls_are_neither_kept_nor_logged(planes, host, caplog):
    caplog.set_level("DEBUG", "ingrain")
    urls = {"safetensorsUrl": "/model.safetensors?signature=hush", "configJsonUrl": "/config.json?signature=hush"}
    assert (await download(planes, body_of(host, ST, **urls))).status_code == 200
    assert "hush" not in caplog.text
    for path in folder_of(planes).parent.rglob("*"):
        assert path.is_dir() or b"hush" not in path.read_bytes()


async def test_a_header_that_begins_as_a_pickle_does_is_no_pickle(planes, host):
    """640 bytes of header are written as 80 02, which is how a pickle of protocol 2 begins."""
    weights = safetensors(pad_to=640)
    assert weights.startswith(b"\x80\x02")
    host.replies["/model.safetensors"] = answer(weights)
    assert (await download(planes, body_of(host, ST))).status_code == 200
