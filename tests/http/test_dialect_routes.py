"""What dialects may share and choose: a path, the model of a request that names none, statuses, keys."""

import gzip
import json

import numpy as np
import pytest

from ingrain.app.tables import load_tables
from ingrain.errors import SettingsError
from ingrain.settings import Settings
from planes import ids_of, running_planes

LARGE = 200_000  # characters; such a body is joined and decoded in a thread


@pytest.fixture
async def planes(tmp_path):
    async with running_planes(tmp_path, Settings(extensions=("toy_dialect",), max_text_chars=LARGE)) as planes:
        await planes.load()
        yield planes


async def line(planes, path: str, body: dict[str, object], **options) -> list[float]:
    answer = await planes.inference.post(path, json=body, **options)
    assert answer.status_code == 200, answer.text
    return [float(number) for number in answer.json()["line"].split()]


async def native(planes, text: str) -> list[float]:
    answer = await planes.inference.post("/embed_text", json={"name": "org/model", "text": text})
    assert answer.status_code == 200, answer.text
    return answer.json()["embeddings"][0]


async def test_two_dialects_share_a_path_and_a_field_of_the_body_tells_them_apart(planes):
    mine = await line(planes, "/embed_text", {"query": "red green"})
    np.testing.assert_allclose(mine, await native(planes, "red green"), atol=1e-6)


async def test_a_header_tells_them_apart_too(planes):
    answer = await planes.inference.post("/embed_text", json={"text": "red"}, headers={"X-Toy": "1"})
    assert (answer.status_code, list(answer.json())) == (400, ["shout"])


@pytest.mark.parametrize("is_zipped", [False, True])
async def test_a_large_body_is_told_apart_too(planes, is_zipped):
    text = "red " * (LARGE // 4)
    for body in ({"query": text}, {"name": "org/model", "text": text}):
        content = json.dumps(body).encode()
        headers = {"Content-Encoding": "gzip"} if is_zipped else {}
        sent = gzip.compress(content) if is_zipped else content
        answer = await planes.inference.post("/embed_text", content=sent, headers=headers)
        assert answer.status_code == 200, answer.text
        assert ("line" in answer.json()) == ("query" in body)


async def test_a_shared_path_keeps_the_first_dialects_errors_for_what_no_dialect_asks(planes):
    for content in (b"{", b"[]", b'{"text": "red"}', b"\xff", b""):
        answer = await planes.inference.post("/embed_text", content=content)
        assert (answer.status_code, list(answer.json())) == (400, ["message", "error"]), answer.text
    wrong = await planes.inference.post("/embed_text", json={"query": 3})
    assert (wrong.status_code, list(wrong.json())) == (400, ["shout"])


async def test_a_refusal_before_the_body_is_read_has_the_fields_of_all_dialects_of_the_path(tmp_path):
    settings = Settings(extensions=("toy_dialect",), api_keys=("good:infer",))
    async with running_planes(tmp_path, settings) as planes:
        for body in ({"query": "red"}, {"name": "org/model", "text": "red"}):
            answer = await planes.inference.post("/embed_text", json=body)
            assert (answer.status_code, sorted(answer.json())) == (401, ["error", "message", "shout"])


async def test_the_document_shows_both_bodies_of_a_shared_path(planes):
    document = (await planes.inference.get("/openapi.json")).json()
    operation = document["paths"]["/embed_text"]["post"]
    shapes = operation["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [shape["$ref"].rpartition("/")[2] for shape in shapes] == ["EmbedTextRequest", "Query"]


async def test_a_models_name_may_stand_inside_a_path(planes):
    vector = await line(planes, "/toy/models/org/model/vector", {"text": "red"})
    np.testing.assert_allclose(vector, await native(planes, "red"), atol=1e-6)
    missing = await planes.inference.post("/toy/models/org/other/vector", json={"text": "red"})
    assert (missing.status_code, list(missing.json())) == (404, ["shout"])
    assert (await planes.inference.post("/toy/models//vector", json={"text": "red"})).status_code == 404
    operation = (await planes.inference.get("/openapi.json")).json()["paths"]["/toy/models/{model}/vector"]["post"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["model"]


async def test_a_dialect_is_served_at_all_its_mounts(planes):
    vector = await line(planes, "/other/toy/vector", {"text": "red"})
    np.testing.assert_allclose(vector, await native(planes, "red"), atol=1e-6)
    assert (await planes.inference.post("/other/embed_text", json={"name": "org/model"})).status_code == 400


async def test_a_request_without_a_model_gets_the_only_one_or_a_configured_one(planes, tmp_path):
    text = {"text": "red green"}
    assert await line(planes, "/toy/vector", text)
    await planes.load("org/second")
    several = await planes.inference.post("/toy/vector", json=text)
    assert several.status_code == 400
    assert "ORG/MODEL, ORG/SECOND" in several.json()["shout"]
    configured = Settings(extensions=("toy_dialect",), default_models=("org/none", "org/second"))
    async with running_planes(tmp_path / "configured", configured) as others:
        none = await others.inference.post("/toy/vector", json=text)
        assert none.status_code == 404, none.text
        await others.load()
        await others.load("org/second")
        assert await line(others, "/toy/vector", text)


async def test_a_dialect_has_its_own_statuses(planes):
    long = {"text": "red " * 40, "truncate": False}
    assert len(ids_of(long["text"])) == 32
    answer = await planes.inference.post("/toy/vector", json=long)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
async def test_a_key_may_come_in_the_headers_of_other_apis(tmp_path, header):
    async with running_planes(tmp_path, Settings(api_keys=("secret",))) as planes:
        await planes.load(key="secret")
        body = {"name": "org/model", "text": "red"}
        right = await planes.inference.post("/embed_text", json=body, headers={header: "secret"})
        wrong = await planes.inference.post("/embed_text", json=body, headers={header: "other"})
        assert (right.status_code, wrong.status_code) == (200, 401)


@pytest.mark.parametrize(
    ("method", "path", "status", "fields"),
    [
        ("GET", "/toy/vector", 405, ["shout"]),
        ("GET", "/other/toy/vector", 405, ["shout"]),
        ("GET", "/toy/models/org/model/vector", 405, ["shout"]),
        ("GET", "/embed_text", 405, ["error", "message", "shout"]),
        ("GET", "/v1/multimodalembeddings", 405, ["detail"]),
        ("PUT", "/v2/embed", 405, ["detail", "id", "message"]),
        ("GET", "/api/nothing", 404, ["error"]),
        ("GET", "/api/v0/nothing", 404, ["detail", "error"]),
    ],
)
async def test_a_path_chooses_the_dialect_of_its_errors(planes, method, path, status, fields):
    answer = await planes.inference.request(method, path)
    assert (answer.status_code, sorted(answer.json())) == (status, fields)


async def test_a_key_may_be_the_password_of_a_url(tmp_path):
    """As LangChain's class for Infinity has it, which knows no keys."""
    async with running_planes(tmp_path, Settings(api_keys=("secret:infer+models",))) as planes:
        await planes.load(key="secret")
        body = {"name": "org/model", "text": "red"}
        for given, status in ((("any", "secret"), 200), (("secret", "any"), 401)):
            assert (await planes.inference.post("/embed_text", json=body, auth=given)).status_code == status
        for given in ("Basic", "Basic ?", "Basic c2VjcmV0"):
            answer = await planes.inference.post("/embed_text", json=body, headers={"Authorization": given})
            assert answer.status_code == 401


async def test_dialects_can_be_switched_off(tmp_path):
    async with running_planes(tmp_path, Settings(dialects=("none",))) as planes:
        await planes.load()
        off = await planes.inference.post("/v1/embeddings", json={"model": "org/model", "input": "red"})
        own = await planes.inference.post("/embed_text", json={"name": "org/model", "text": "red"})
        assert (off.status_code, own.status_code) == (404, 200)
    assert {one.key for one in load_tables((), ("OpenAI",)).dialects} == {"native", "openai", "first-generation"}
    with pytest.raises(SettingsError, match="openai"):
        load_tables((), ("opnai",))
    with pytest.raises(SettingsError, match="beside `none`"):
        load_tables((), ("none", "openai"))
