"""Infinity's dialect: the same numbers as Ingrain's own API has, Infinity's answers and errors."""

import base64

import msgspec
import numpy as np
import pytest

from ingrain.repository.manifest import Scoring
from neighbours import (
    DOCUMENTS,
    PICTURE,
    QUERY,
    TEXTS,
    ask,
    native_classes,
    native_image,
    native_ranking,
    native_vectors,
    refused,
    running_models,
)

ANY = "default/not-specified"


async def test_embeddings_without_v1(tmp_path):
    async with running_models(tmp_path, "dense", "clip", default_models=("dense",)) as planes:
        expected = await native_vectors(planes, TEXTS)
        body = {"input": TEXTS, "modality": "text", "dimensions": 0}  # what its client sends
        for model in ("dense", ANY):
            answer = await ask(planes, "/embeddings", model=model, **body)
            np.testing.assert_allclose([one["embedding"] for one in answer["data"]], expected, atol=1e-6)
            assert answer["model"] == "dense"
        assert (await ask(planes, "/embeddings", input=TEXTS))["data"] == answer["data"]
        coded = await ask(planes, "/embeddings", model="dense", encoding_format="base64", **body)
        numbers = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in coded["data"]]
        np.testing.assert_allclose(numbers, expected, atol=1e-6)
        short = await ask(planes, "/embeddings", model="dense", input=TEXTS, dimensions=3)
        np.testing.assert_allclose(
            [one["embedding"] for one in short["data"]], await native_vectors(planes, TEXTS, nDims=3), atol=1e-6
        )
        image = await ask(planes, "/embeddings", model=ANY, input=[PICTURE], modality="image")
        assert image["model"] == "clip", "the only one that embeds images"
        np.testing.assert_allclose(image["data"][0]["embedding"], await native_image(planes), atol=1e-6)


async def test_ranking_classifying_and_the_list(tmp_path):
    async with running_models(tmp_path, "dense", "reranker", "classifier") as planes:
        expected = await native_ranking(planes)
        body = {"query": QUERY, "documents": DOCUMENTS, "raw_scores": False, "return_documents": False}
        answer = await ask(planes, "/rerank", model=ANY, **body)
        assert [one["index"] for one in answer["results"]] == list(expected)
        assert [one["relevance_score"] for one in answer["results"]] == pytest.approx(list(expected.values()), abs=1e-6)
        assert (answer["object"], answer["model"]) == ("rerank", "reranker")
        assert all("document" not in one for one in answer["results"])
        raw = await ask(planes, "/rerank", model="reranker", **body | {"raw_scores": True, "return_documents": True})
        logits = await native_ranking(planes, rawScores=True)
        assert [one["relevance_score"] for one in raw["results"]] == pytest.approx(list(logits.values()), abs=1e-6)
        assert [one["document"] for one in raw["results"]] == [DOCUMENTS[place] for place in logits]
        assert len((await ask(planes, "/rerank", model=ANY, top_n=1, **body))["results"]) == 1

        below = await ask(planes, "/infinity/rerank", query=QUERY, documents=DOCUMENTS, return_documents=True)
        assert {one["document"] for one in below["results"]} == set(DOCUMENTS), "told apart without raw_scores, too"

        model = planes.services.registry.get("reranker")
        own_scoring = msgspec.structs.replace(model.manifest, scoring=Scoring(activation="identity"))
        object.__setattr__(model, "manifest", own_scoring)
        same = await ask(planes, "/rerank", model="reranker", **body)
        assert same["results"] == answer["results"], "sigmoid, as in Infinity, whatever the model's own activation is"

        own = await ask(planes, "/rerank", name="reranker", raw_scores=True, query=QUERY, documents=DOCUMENTS)
        assert {one["index"]: one["score"] for one in own["results"]} == logits, "it may have that field, too"

        for is_raw in (False, True):
            classes = await ask(planes, "/classify", model=ANY, input=TEXTS, raw_scores=is_raw)
            found = [{one["label"]: one["score"] for one in labels} for labels in classes["data"]]
            theirs = await native_classes(planes, TEXTS, rawScores=is_raw)
            assert [list(one) for one in found] == [list(one) for one in theirs]
            assert found[0] == pytest.approx(theirs[0], abs=1e-6)
        assert (classes["object"], classes["model"], classes["usage"]["total_tokens"]) == ("classify", "classifier", 9)

        listed = {one["id"]: one for one in (await planes.inference.get("/models")).json()["data"]}
        assert {name: one["capabilities"] for name, one in listed.items()} == {
            "dense": ["embed"],
            "reranker": ["rerank"],
            "classifier": ["classify"],
        }
        assert {one["owned_by"] for one in listed.values()} == {"infinity"}, "its client takes no other"

        for path, wrong, status, param in (
            ("/embeddings", {"model": "absent", "input": "red"}, 404, "model"),
            ("/embeddings", {"model": "dense"}, 422, "input"),
            ("/embeddings", {"model": "dense", "input": []}, 422, "input"),
            ("/embeddings", {"model": "dense", "input": "red", "dimensions": 99}, 400, "dimensions"),
            ("/embeddings", {"model": "dense", "input": "red", "modality": "audio"}, 422, "modality"),
            ("/embeddings", {"model": "dense", "input": [PICTURE], "modality": "image"}, 400, "input"),
            ("/embeddings", {"model": "reranker", "input": "red"}, 400, "input"),
            ("/rerank", {**body, "model": "dense"}, 400, "model"),
            ("/rerank", {**body, "documents": []}, 422, "documents"),
            ("/rerank", {**body, "top_n": 0}, 422, "top_n"),
            ("/classify", {"model": "dense", "input": ["red"], "raw_scores": False}, 400, "model"),
            ("/rerank", {**body, "documents": ["red", 3]}, 422, "documents[1]"),
            ("/embeddings", {"model": "dense", "input": ["red"] * 3000}, 422, "input"),
            ("/infinity/classify", {"input": "red"}, 422, "input"),
        ):
            refusal = await refused(planes, path, **wrong)
            error = refusal.json()["error"]
            assert (refusal.status_code, error["code"], error["param"]) == (status, status, param), wrong
            assert ("detail" in refusal.json()) == (status == 422)
        refusal = (await refused(planes, "/rerank", **{**body, "documents": ["red", 3]})).json()
        assert refusal["detail"][0]["loc"] == ["body", "documents", 1]
        broken = await planes.inference.post("/infinity/rerank", content=b"{")
        assert (broken.status_code, broken.json()["detail"][0]["loc"]) == (422, ["body"])
