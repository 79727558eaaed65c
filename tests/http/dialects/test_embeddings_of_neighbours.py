"""Embeddings at OpenAI's path and at those of Azure and LM Studio, with the fields of Jina, NIM and Mixedbread too."""

import base64

import numpy as np
import pytest

from ingrain.settings import Settings
from neighbours import LONG, ask, native_vectors, running_models
from planes import WIDTH, running_planes

TEXTS = ["red", "green blue", "", "Grüße aus 東京 🙂", LONG, "red"]
OPENAI, AZURE = "/v1/embeddings", "/openai/deployments/dense/embeddings?api-version=2024-10-21"
PATHS = (OPENAI, AZURE, "/openai/v1/embeddings?api-version=preview", "/api/v0/embeddings")


@pytest.fixture
async def planes(tmp_path):
    async with running_models(tmp_path, "dense", "reranker", openai_max_items=8) as planes:
        yield planes


def vectors(answer: dict[str, object]) -> np.ndarray:
    given = [one["embedding"] for one in answer["data"]]
    return np.array([np.frombuffer(base64.b64decode(one), "<f4") if isinstance(one, str) else one for one in given])


@pytest.mark.parametrize("path", PATHS)
async def test_the_vectors_are_those_of_the_native_route(planes, path):
    whole, short = await native_vectors(planes, TEXTS), await native_vectors(planes, TEXTS, nDims=3)
    for fields, expected in (({}, whole), ({"encoding_format": "base64"}, whole), ({"dimensions": 3}, short)):
        answer = await ask(planes, path, model="dense", input=TEXTS, **fields)
        np.testing.assert_allclose(vectors(answer), expected, atol=1e-6)
        assert (list(answer), answer["model"]) == (["object", "data", "model", "usage"], "dense")
    one = await ask(planes, path, model="dense", input=TEXTS[1])
    np.testing.assert_allclose(vectors(one), whole[1:2], atol=1e-6)


FIELDS = (
    ({"task": "retrieval.passage", "embedding_type": "float", "normalized": True, "truncate": True}, {}),
    ({"task": None, "embedding_type": "base64", "late_chunking": False, "dimensions": 4}, {"nDims": 4}),
    ({"embedding_type": "binary", "dimensions": None}, {"outputDtype": "binary"}),
    ({"input_type": "query", "truncate": "END", "encoding_format": "float", "user": "me"}, {}),
    ({"input_type": "passage", "truncate": "END", "encoding_format": "base64", "dimensions": 4}, {"nDims": 4}),
    ({"normalized": False, "encoding_format": "base64", "prompt": None}, {"normalize": False}),
    ({"normalized": True, "encoding_format": ["uint8"], "dimensions": 4}, {"nDims": 4, "outputDtype": "uint8"}),
    ({"prompt": "green "}, {"prompt": "green "}),
    ({"truncate_prompt_tokens": -1, "truncate": "END"}, {}),
)


@pytest.mark.parametrize(("fields", "own"), FIELDS, ids=str)
async def test_the_fields_of_jina_nim_and_mixedbread_give_the_vectors_of_the_native_route(planes, fields, own):
    answer = await ask(planes, OPENAI, model="dense", input=TEXTS, **fields)
    np.testing.assert_allclose(vectors(answer), await native_vectors(planes, TEXTS, **own), atol=1e-6)


MISTAKES = (
    ({"input": None}, 400, "invalid_request", "input"),
    ({"input": 3}, 400, "invalid_request", "input"),
    ({"input": []}, 400, "invalid_request", "input"),
    ({"input": ["red", None]}, 400, "invalid_request", "input[1]"),
    ({"input": ["red", 3]}, 400, "invalid_request", "input[1]"),
    ({"input": ["red"] * 9}, 413, "too_large", "input"),
    ({"input": LONG, "truncate": False}, 400, "context_length_exceeded", "input"),
    ({"dimensions": WIDTH + 1}, 400, "invalid_request", "dimensions"),
    ({"dimensions": -1}, 400, "invalid_request", "dimensions"),
    ({"dimensions": "3"}, 400, "invalid_request", "dimensions"),
    ({"encoding_format": "float16"}, 400, "invalid_request", "encoding_format"),
    ({"user": 3}, 400, "invalid_request", "user"),
    # Jina's, NIM's and Mixedbread's
    ({"task": "classification"}, 400, "invalid_request", "task"),
    ({"late_chunking": True}, 400, "invalid_request", "late_chunking"),
    ({"return_multivector": True}, 400, "invalid_request", "return_multivector"),
    ({"embedding_type": "float64"}, 400, "invalid_request", "embedding_type"),
    ({"embedding_type": []}, 400, "invalid_request", "embedding_type"),
    ({"normalized": "yes"}, 400, "invalid_request", "normalized"),
    ({"input": [{"text": "red"}, {"pdf": "a"}]}, 400, "invalid_request", "input[1]"),
    ({"input": [{"image": "a"}]}, 400, "unsupported_modality", "input"),
    ({"input_type": "classification"}, 400, "invalid_request", "input_type"),
    ({"input": LONG, "truncate": "NONE"}, 400, "context_length_exceeded", "input"),
    ({"truncate": "MIDDLE"}, 400, "invalid_request", "truncate"),
    ({"truncate": "NONE", "truncation": True}, 400, "invalid_request", "truncation"),
    ({"truncate": "NONE", "truncate_prompt_tokens": -1}, 400, "invalid_request", "truncate_prompt_tokens"),
    ({"modality": ["text"]}, 400, "invalid_request", "modality"),
    ({"encoding_format": ["float", "float16"]}, 400, "invalid_request", "encoding_format[1]"),
    ({"encoding_format": []}, 400, "invalid_request", "encoding_format"),
    ({"encoding_format": "base64", "embedding_type": "base64", "normalized": 1}, 400, "invalid_request", "normalized"),
)


@pytest.mark.parametrize("path", PATHS)
async def test_mistakes_are_openais_error_object_with_jinas_detail(planes, path):
    for wrong, status, code, param in MISTAKES:
        answer = await planes.inference.post(path, json={"model": "dense", "input": "red", **wrong})
        assert answer.status_code == status, (wrong, answer.text)
        error = answer.json()["error"]
        assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error"), wrong
        assert answer.json() == {"error": error, "detail": error["message"]}
    for content in (b"", b"{", b"[]", b"\xff", b'{"model": "dense"}'):
        answer = await planes.inference.post(path, content=content)
        assert (answer.status_code, list(answer.json()["error"])) == (400, ["message", "type", "param", "code"])
    for method in ("GET", "PUT", "DELETE"):
        answer = await planes.inference.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_model_and_a_wrong_path_have_codes_of_the_dialect(planes, path):
    other = path.replace("/dense/", "/{}/") if path == AZURE else path
    missing, reranker = [
        await planes.inference.post(other.format(name), json={"model": name, "input": "red"})
        for name in ("absent", "reranker")
    ]
    nowhere = await planes.inference.post(path.partition("embeddings")[0] + "chat/completions", json={})
    is_azure = path.startswith("/openai/")
    assert (missing.status_code, reranker.status_code, nowhere.status_code) == (404, 400, 404)
    assert missing.json()["error"]["code"] == ("DeploymentNotFound" if is_azure else "model_not_found")
    assert missing.json()["error"]["param"] == "model"
    assert reranker.json()["error"]["code"] == "unsupported_modality"
    assert nowhere.json()["error"]["code"] == ("404" if is_azure else "route_not_found")


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_key_and_a_full_server_have_the_dialects_error(tmp_path, path):
    settings = Settings(api_keys=("good:infer+models",), max_requests=0)
    async with running_planes(tmp_path, settings) as planes:
        await planes.load("dense", key="good")
        for header, key, status, code in (
            ("api-key", "bad", 401, "401" if path.startswith("/openai/") else "invalid_api_key"),
            ("Authorization", "Bearer good", 429, "429" if path.startswith("/openai/") else "rate_limit_exceeded"),
        ):
            answer = await planes.inference.post(path, json={"model": "dense", "input": "red"}, headers={header: key})
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert int(answer.headers["retry-after"]) >= 1


async def test_one_model_is_described_at_azures_paths_too(planes):
    for path in ("/openai/models/dense", "/openai/v1/models/dense"):
        assert (await planes.inference.get(path)).json() == (await planes.inference.get("/v1/models/dense")).json()
    missing = await planes.inference.get("/openai/models/absent")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "DeploymentNotFound")
