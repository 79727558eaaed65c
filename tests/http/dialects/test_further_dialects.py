"""Small dialects beside OpenAI's: NIM's, Mixedbread's, Azure's and LM Studio's; and Jina's objects."""

import numpy as np
import pytest

from ingrain.settings import Settings
from neighbours import (
    DOCUMENTS,
    LONG,
    PICTURE,
    QUERY,
    TEXTS,
    ask,
    native_image,
    native_ranking,
    native_vectors,
    refused,
    running_models,
)
from planes import running_planes


@pytest.fixture
async def planes(tmp_path):
    async with running_models(tmp_path, "dense", "reranker", "clip") as planes:
        yield planes


async def test_nims_ranking_gives_raw_scores(planes):
    logits = await native_ranking(planes, rawScores=True)
    body = {"query": {"text": QUERY}, "passages": [{"text": text} for text in DOCUMENTS]}
    answer = await ask(planes, "/v1/ranking", model="reranker", **body)
    assert [one["index"] for one in answer["rankings"]] == list(logits)
    assert [one["logit"] for one in answer["rankings"]] == pytest.approx(list(logits.values()), abs=1e-6)
    assert await ask(planes, "/v1/ranking", **body) == answer
    assert await ask(planes, "/v1/retrieval/reranker/reranking", **body) == answer
    long = {"query": {"text": QUERY}, "passages": [{"text": LONG}]}
    assert len((await ask(planes, "/v1/ranking", truncate="END", **long))["rankings"]) == 1
    for wrong, status, param in (
        (long, 400, "passages[0]"),
        (long | {"truncate": "NONE"}, 400, "passages[0]"),
        (body | {"truncate": "START"}, 400, "truncate"),
        (body | {"model": "absent"}, 404, "model"),
        (body | {"model": "dense"}, 400, "model"),
        (body | {"query": QUERY}, 400, "query"),
        (body | {"passages": []}, 400, "passages"),
        (body | {"passages": DOCUMENTS}, 400, "passages[0]"),
        (body | {"passages": [{"text": "a", "image": PICTURE}]}, 400, "passages[0].image"),
        (body | {"query": {"text": "a", "image": PICTURE}}, 400, "query.image"),
        ({"passages": body["passages"]}, 400, "query"),
    ):
        refusal = await refused(planes, "/v1/ranking", **wrong)
        assert (refusal.status_code, refusal.json()["detail"]["param"]) == (status, param)
        assert set(refusal.json()) == {"object", "message", "detail", "type"}


async def test_nims_health(planes):
    for status in ("live", "ready"):
        answer = await planes.inference.get(f"/v1/health/{status}")
        assert (answer.status_code, answer.json()["status"]) == (200, status)


async def test_mixedbreads_reranking(planes):
    scores = await native_ranking(planes)
    body = {"model": "reranker", "query": QUERY, "input": DOCUMENTS}
    answer = await ask(planes, "/v1/reranking", **body)
    assert [one["index"] for one in answer["data"]] == list(scores)
    assert [one["score"] for one in answer["data"]] == pytest.approx(list(scores.values()), abs=1e-6)
    assert (answer["top_k"], answer["return_input"], answer["data"][0]["input"]) == (10, False, None)
    assert await ask(planes, "/v1/reranking", **body, top_k=None, return_input=None, rank_fields=None) == answer
    long = await ask(planes, "/v1/reranking", **body | {"input": DOCUMENTS * 5})
    assert len(long["data"]) == 10
    objects = [{"title": text, "text": "w1"} for text in DOCUMENTS]
    fields = await ask(
        planes, "/v1/reranking", **body | {"input": objects}, rank_fields=["title"], top_k=1, return_input=True
    )
    assert fields["data"] == [answer["data"][0] | {"input": objects[answer["data"][0]["index"]]}]
    for wrong, status, param in (
        ({"model": "absent"}, 404, "model"),
        ({"model": "dense"}, 400, "model"),
        ({"input": []}, 400, "input"),
        ({"input": [{"title": "a"}]}, 400, "input[0]"),
        ({"input": [3]}, 400, "input[0]"),
        ({"query": ["a"]}, 400, "query"),
        ({"top_k": 0}, 400, "top_k"),
        ({"rank_fields": []}, 400, "rank_fields"),
        ({"rewrite_query": True}, 400, "rewrite_query"),
        ({"return_input": "yes"}, 400, "return_input"),
    ):
        refusal = await refused(planes, "/v1/reranking", **body | wrong)
        assert (refusal.status_code, refusal.json()["details"]["param"]) == (status, param)
        assert set(refusal.json()) == {"type", "message", "details", "url"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/ranking", {"object", "message", "detail", "type"}),
        ("/v1/retrieval/reranker/reranking", {"object", "message", "detail", "type"}),
        ("/v1/reranking", {"type", "message", "details", "url"}),
        ("/v1/multimodalembeddings", {"detail"}),
    ],
)
async def test_a_wrong_key_and_a_full_server_are_told_in_the_dialects_shape(tmp_path, path, fields):
    async with running_planes(tmp_path, Settings(api_keys=("good:infer",), max_requests=0)) as planes:
        for key, status in (("bad", 401), ("good", 429)):
            answer = await planes.inference.post(path, json={}, headers={"Authorization": f"Bearer {key}"})
            assert (answer.status_code, set(answer.json())) == (status, fields)
        assert int(answer.headers["retry-after"]) >= 1, "which their clients wait for, or try again by themselves"


async def test_azures_paths(planes):
    expected = await native_vectors(planes, TEXTS)
    for path in (
        "/openai/deployments/dense/embeddings?api-version=2024-10-21",
        "/openai/v1/embeddings",
        "/v1/embeddings",
    ):
        body = {"input": TEXTS} if "deployments" in path else {"input": TEXTS, "model": "dense"}
        answer = await ask(planes, path, **body)
        np.testing.assert_allclose([one["embedding"] for one in answer["data"]], expected, atol=1e-6)
        assert answer["model"] == "dense"
    both = await ask(planes, "/openai/deployments/dense/embeddings", input=TEXTS, model="another name of it")
    assert both["data"] == answer["data"], "the path decides"
    assert (await planes.inference.get("/openai/models")).json()["data"][0]["id"] == "dense"


async def test_azures_key_header(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("good:infer+models",))) as planes:
        planes.model.headers["authorization"] = "Bearer good"
        await planes.load()
        path, body = "/openai/deployments/org/model/embeddings?api-version=1", {"input": "red"}
        for key, status in (("good", 200), ("bad", 401)):
            answer = await planes.inference.post(path, json=body, headers={"api-key": key})
            assert answer.status_code == status, answer.text


async def test_lm_studios_paths(planes):
    answer = await ask(planes, "/api/v0/embeddings", model="dense", input=TEXTS)
    np.testing.assert_allclose(
        [one["embedding"] for one in answer["data"]], await native_vectors(planes, TEXTS), atol=1e-6
    )
    listed = (await planes.inference.get("/api/v0/models")).json()["data"]
    assert [(one["id"], one["type"], one["state"]) for one in listed] == [
        (name, "embeddings", "loaded") for name in ("dense", "clip")
    ], "a client takes any of them for one that embeds"
    assert (await planes.inference.get("/api/v0/models/dense")).json() == listed[0]
    for name in ("absent", "reranker"):
        missing = await planes.inference.get(f"/api/v0/models/{name}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_jinas_objects_are_texts_and_images(planes):
    texts = await native_vectors(planes, ["red", "green blue"], "clip")
    expected = np.array([texts[0], await native_image(planes), texts[1]])
    raw = PICTURE.partition(",")[2]
    for image in ({"image": PICTURE}, {"image": raw}, {"bytes": raw}, {"url": PICTURE}):
        for last in ("green blue", {"text": "green blue"}):
            answer = await ask(planes, "/v1/embeddings", model="clip", input=[{"text": "red"}, image, last])
            np.testing.assert_allclose([one["embedding"] for one in answer["data"]], expected, atol=1e-6)
    assert answer["usage"]["total_tokens"] == 7
    plain = await ask(planes, "/v1/embeddings", model="dense", input=["red", {"text": "green blue"}], task=None)
    np.testing.assert_allclose(
        [one["embedding"] for one in plain["data"]], await native_vectors(planes, ["red", "green blue"]), atol=1e-6
    )
    for wrong, param in (
        ([{"text": "red"}, {}], "input[1]"),
        ([{"text": "red", "image": PICTURE}], "input[0]"),
        ([{"text": "red"}, [1, 2]], "input[1]"),
        ([{"text": 3}], "input[0].text"),
        ([{"pdf": "a"}], "input[0]"),
    ):
        refusal = (await refused(planes, "/v1/embeddings", model="clip", input=wrong)).json()
        assert refusal["error"]["param"] == param
        assert refusal["detail"] == refusal["error"]["message"], "where Jina's clients look for the message"
    for types in ("int8", ["uint8"], ["float", "int8"]):
        of_images = {"model": "clip", "input": [{"image": PICTURE}], "embedding_type": types}
        error = (await refused(planes, "/v1/embeddings", **of_images)).json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_modality", "embedding_type")


async def test_a_dialect_can_be_switched_off(tmp_path):
    async with running_models(tmp_path, "dense", dialects=("openai", "nim")) as planes:
        assert (await ask(planes, "/v1/embeddings", model="dense", input="red"))["model"] == "dense"
        for path in ("/embeddings", "/v1/score", "/v1/multimodalembeddings", "/v1/reranking", "/api/v0/embeddings"):
            assert (await planes.inference.post(path, json={})).status_code == 404
