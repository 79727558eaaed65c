"""Voyage's dialect: the same numbers as Ingrain's own API has, Voyage's answers and errors."""

import base64

import numpy as np
import pytest

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


@pytest.fixture
async def planes(tmp_path):
    async with running_models(tmp_path, "dense", "reranker", "clip") as planes:
        yield planes


async def test_embeddings_as_its_client_asks_for_them(planes):
    """They are OpenAI's, with other names; the client decodes base64, or takes lists."""
    fields = {"model": "dense", "input": TEXTS, "encoding_format": "base64", "truncation": True, "output_dtype": None}
    answer = await ask(planes, "/v1/embeddings", input_type="document", output_dimension=3, **fields)
    numbers = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in answer["data"]]
    np.testing.assert_allclose(numbers, await native_vectors(planes, TEXTS, nDims=3), atol=1e-6)
    bits = await ask(planes, "/v1/embeddings", **fields | {"output_dtype": "ubinary"})
    expected = await native_vectors(planes, TEXTS, outputDtype="ubinary")
    assert [one["embedding"] for one in bits["data"]] == expected.tolist()
    for wrong in ({"model": "absent"}, {"truncation": False, "input": LONG}, {"input_type": "passport"}):
        refusal = (await refused(planes, "/v1/embeddings", **fields | wrong)).json()
        assert refusal["detail"] == refusal["error"]["message"], "where its client looks for the message"


async def test_reranking(planes):
    expected = await native_ranking(planes)
    fields = {"model": "reranker", "query": QUERY, "documents": DOCUMENTS, "top_k": None, "truncation": True}
    answer = await ask(planes, "/v1/rerank", **fields)
    assert [one["index"] for one in answer["data"]] == list(expected)
    assert [one["relevance_score"] for one in answer["data"]] == pytest.approx(list(expected.values()), abs=1e-6)
    assert (answer["object"], answer["model"], answer["usage"]) == ("list", "reranker", {"total_tokens": 16})
    best = await ask(planes, "/v1/rerank", **fields | {"top_k": 1, "return_documents": True})
    assert best["data"] == [answer["data"][0] | {"document": DOCUMENTS[answer["data"][0]["index"]]}]


async def test_texts_and_images(planes):
    inputs = [
        {"content": [{"type": "text", "text": "red"}]},
        {"content": [{"type": "image_base64", "image_base64": PICTURE}]},
        {"content": [{"type": "text", "text": "green blue"}]},
    ]
    texts = await native_vectors(planes, ["red", "green blue"], "clip")
    expected = np.array([texts[0], await native_image(planes), texts[1]])
    path = "/v1/multimodalembeddings"
    answer = await ask(planes, path, model="clip", inputs=inputs, truncation=True)
    np.testing.assert_allclose([one["embedding"] for one in answer["data"]], expected, atol=1e-6)
    assert answer["usage"] == {"text_tokens": 7, "image_pixels": 0, "video_pixels": 0, "total_tokens": 7}
    coded = await ask(planes, path, model="clip", inputs=inputs, output_encoding="base64")
    numbers = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in coded["data"]]
    np.testing.assert_allclose(numbers, expected, atol=1e-6)
    bits = await ask(planes, path, model="clip", inputs=inputs, output_dtype="ubinary", encoding_format="base64")
    assert [one["embedding"] for one in bits["data"]] == np.packbits(expected > 0, axis=1).tolist()


@pytest.mark.parametrize(
    ("path", "wrong", "word"),
    [
        ("rerank", {"model": "absent"}, "absent"),
        ("rerank", {"model": "dense"}, "rerank"),
        ("rerank", {"documents": []}, "documents"),
        ("rerank", {"documents": ["a", {"text": "b"}]}, "documents[1]"),
        ("rerank", {"query": None}, "query"),
        ("rerank", {"top_k": 0}, "top_k"),
        ("rerank", {"truncation": False, "documents": [LONG]}, "documents[0]"),
        ("rerank", {"documents": ["a"] * 20_000}, "INGRAIN_MAX_ITEMS"),
        ("multimodalembeddings", {"model": "absent"}, "absent"),
        ("multimodalembeddings", {"inputs": []}, "inputs"),
        ("multimodalembeddings", {"inputs": [{"content": [{"type": "text", "text": "a"}] * 2}]}, "2 parts"),
        ("multimodalembeddings", {"inputs": [{"content": [{"type": "image_url"}]}]}, "image_url"),
        ("multimodalembeddings", {"inputs": [{"content": [{"type": "video_url", "video_url": "b"}]}]}, "type"),
        ("multimodalembeddings", {"output_dimension": 99}, "output_dimension"),
        ("multimodalembeddings", {"input_type": "passage"}, "input_type"),
    ],
    ids=str,
)
async def test_mistakes_have_voyages_error_body_and_a_status_that_its_client_knows(planes, path, wrong, word):
    bodies = {
        "rerank": {"model": "reranker", "query": QUERY, "documents": DOCUMENTS, "truncation": True},
        "multimodalembeddings": {"model": "clip", "inputs": [{"content": [{"type": "text", "text": "red"}]}]},
    }
    answer = await refused(planes, f"/v1/{path}", **bodies[path] | wrong)
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])
    assert word in answer.json()["detail"]
