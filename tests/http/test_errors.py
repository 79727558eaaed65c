"""Errors on the wire: a clear 4xx for every mistake, nothing that should not leave the server."""

import asyncio
import base64

import httpx
import pytest

from images import encode, scene
from ingrain import errors
from ingrain.server.plane.errors import STATUS, status_of
from ingrain.settings import Settings
from planes import running_planes

GOOD = {"name": "org/model", "text": "red"}


def subclasses(cls):
    return {cls, *(below for child in cls.__subclasses__() for below in subclasses(child))}


def test_every_error_has_a_status_and_a_code_of_its_own():
    every = {cls for cls in subclasses(errors.IngrainError) if cls.__module__ == "ingrain.errors"}
    assert all(400 <= status_of(cls("x")) < 600 for cls in every)
    assert len({cls.code for cls in every}) == len(every)
    assert all(status_of(cls("x")) < 500 for cls in every if issubclass(cls, errors.RequestError))
    assert set(STATUS) <= every


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (GOOD | {"normalise": True}, "normalise", "normalize"),
        (GOOD | {"text": []}, "text", "length"),
        (GOOD | {"text": ["a", 3]}, "text[1]", "str"),
        (GOOD | {"text": {"a": 1}}, "text", "object"),
        (GOOD | {"nDims": 0}, "nDims", "1"),
        (GOOD | {"nDims": "4"}, "nDims", "int"),
        (GOOD | {"nDims": 9}, "nDims", "8"),
        (GOOD | {"nDims": 10**30}, "nDims", "nDims"),
        (GOOD | {"normalize": "yes"}, "normalize", "bool"),
        (GOOD | {"library": "keras"}, "library", "keras"),
        ({"text": "red"}, "name", "missing"),
        ({"name": "org/model"}, "text", "missing"),
        (GOOD | {"name": 5}, "name", "str"),
        (GOOD | {"name": ""}, "name", "length"),
        (GOOD | {"nDims": 1, "n_dims": 2}, "n_dims", "twice"),
        ([GOOD], None, "object"),
        ("text", None, "object"),
    ],
)
async def test_a_wrong_body_is_400_and_names_the_field(planes, body, param, said):
    answer = await planes.inference.post("/embed_text", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert said in answer.json()["message"]
    assert error["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"name": "a", "text": "\\ud800"}', b"[" * 100_000, b'{"name": NaN}', b"nul"]
)
async def test_what_is_not_json_is_400(planes, body):
    answer = await planes.inference.post("/embed_text", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["message"]


async def test_a_model_that_is_not_loaded_is_404_and_says_what_to_do(planes):
    answer = await planes.embed("red", name="org/other")
    assert answer.status_code == 404
    assert "/load_model" in answer.json()["message"]
    assert answer.json()["error"]["code"] == "model_not_loaded"


async def test_unknown_routes_and_methods_answer_in_the_same_shape(planes):
    for answer, status in (
        (await planes.inference.get("/nothing"), 404),
        (await planes.inference.get("/embed_text"), 405),
        (await planes.model.post("/embed_text", json=GOOD), 404),
    ):
        assert answer.status_code == status
        assert set(answer.json()) == {"message", "error"}
        assert answer.headers["x-request-id"] == answer.json()["error"]["requestId"]


@pytest.mark.usefixtures("way")
async def test_limits_are_413_and_are_named(tmp_path):
    settings = Settings(max_body_bytes=500, max_items=3, max_text_chars=40)
    async with running_planes(tmp_path, settings) as planes:
        await planes.load()
        for text, limit in ((["a"] * 4, 3), ("a" * 41, 40), ("a" * 1000, 500)):
            answer = await planes.embed(text)
            assert answer.status_code == 413, answer.text
            assert answer.json()["error"]["limit"] == limit


@pytest.mark.usefixtures("way")
async def test_a_bad_item_fails_its_own_request_and_no_other(planes):
    planes.engine.latency_s = 0.02
    texts = ["red", "poison", "green", "blue"]
    answers = await asyncio.gather(*(planes.embed(text) for text in texts))
    assert [answer.status_code for answer in answers] == [200, 500, 200, 200]


@pytest.mark.usefixtures("way")
async def test_nan_is_never_answered(planes):
    answer = await planes.embed(["red", "broken"])
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "not_finite"
    assert answer.json()["error"]["param"] == "text[1]"
    assert answer.json()["message"].startswith("text[1]: ")
    assert "NaN" not in answer.text.replace("(NaN or infinity)", "")


@pytest.mark.usefixtures("way")
async def test_a_dead_engine_is_503_with_retry_after_and_heals(planes):
    planes.engine.die()
    answer = await planes.embed("red")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    planes.engine.come_back()
    for _ in range(100):
        if (answer := await planes.embed("red")).status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert answer.status_code == 200
    assert len(planes.export.runs) == 1


@pytest.mark.parametrize(
    "place",
    [
        "ingrain.preprocess.text.TextPreprocessor.encode",
        "ingrain.tasks.embed_text.finish_vectors",
        "ingrain.server.dialects.native.embed.vectors_answer",
    ],
)
@pytest.mark.usefixtures("way")
async def test_an_error_that_nobody_foresaw_tells_nothing(planes, monkeypatch, place):
    def broken(*_args, **_kwargs):
        raise RuntimeError("/secret/path token=abc")

    with monkeypatch.context() as patched:
        patched.setattr(place, broken)
        answers = await asyncio.gather(planes.embed("red"), planes.embed("red"))
    for answer in answers:
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert answer.json()["error"]["code"] == "internal_error"
    assert (await planes.embed("red")).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-123", True), ("a" * 200, False), ("bad id\twith", False), ("", False)]
)
async def test_request_ids_are_echoed_where_they_are_plain_words(planes, given, kept):
    answer: httpx.Response = await planes.inference.get("/health", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.DiskFullError("The disk is full.", retry_after_s=60), 507),
        (errors.OutOfMemoryError("There was too little memory.", retry_after_s=60), 503),
        (errors.ExportKilledError("It was ended by SIGKILL.", retry_after_s=60), 503),
    ],
)
async def test_what_the_machine_lacked_is_a_5xx_that_names_it_and_the_next_load_works(planes, error, status):
    planes.export.error = error
    body = {"name": "org/new", "library": "timm"}
    answer = await planes.model.post("/load_model", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, error.code)
    assert answer.json()["message"] == error.message
    assert answer.headers["retry-after"] == "60"
    planes.export.error = None
    assert (await planes.model.post("/load_model", json=body)).status_code == 200


@pytest.mark.parametrize("others", [1, 40])
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/embed_text", lambda items: {"name": "org/model", "text": items}, "text[{}]"),
        ("/embed", lambda items: {"name": "org/model", "text": items}, "text[{}]"),
        ("/infer_text", lambda items: {"name": "org/model", "text": items}, "text[{}]"),
        ("/v1/embeddings", lambda items: {"model": "org/model", "input": items}, "input[{}]"),
        ("/v1/embeddings", lambda items: {"model": "org/model", "input": items[-1]}, "input"),
    ],
)
@pytest.mark.parametrize("bad", ["broken", "poison"])
async def test_an_error_of_the_engine_names_the_item(planes, path, body, param, others, bad):
    """Whether the item shares a batch with others, or its request needs several batches."""
    planes.engine.latency_s = 0.001
    await planes.embed(["w0", "w1"])  # these are in the cache
    items = [*(f"w{number} w1" for number in range(others)), "w0", bad]
    answer = await planes.inference.post(path, json=body(items))
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["param"] == param.format(others + 1)
    assert error["param"] in error["message"]


async def test_an_error_of_a_label_names_the_label(planes):
    await planes.load("ViT-B-32", "open_clip")
    picture = base64.b64encode(encode(scene(20, 16), "PNG")).decode()
    body = {"name": "ViT-B-32", "image": picture, "labels": ["red", "broken"], "templates": ["a {}", "the {}"]}
    answer = await planes.inference.post("/classify_image_zero_shot", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (500, "labels[1]")
