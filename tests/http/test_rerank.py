"""Ranking, scoring and classifying texts over HTTP: fields, limits, orders and errors, on the fake engine."""

import json

import numpy as np
import pytest

from ingrain.settings import Settings
from planes import LABELS, running_planes

QUERY, DOCUMENTS = "red", ["green", "blue", "green", "w1 w2 w3", ""]


@pytest.fixture
async def scorers(tmp_path):
    """Both planes with a reranker, a classifier and an embedding model."""
    async with running_planes(tmp_path, Settings(max_items=40, max_text_chars=200)) as planes:
        await planes.load()
        for name, task in (("reranker", "rerank"), ("classifier", "classify")):
            body = {"name": name, "library": "sentence_transformers", "task": task}
            answer = await planes.model.post("/load_model", json=body)
            assert answer.status_code == 200, answer.text
        yield planes


async def ask(planes, route, name, **fields):
    answer = await planes.inference.post(f"/{route}", json={"name": name, **fields})
    assert answer.status_code == 200, answer.text
    return answer


async def refused(planes, route, name, **fields):
    answer = await planes.inference.post(f"/{route}", json={"name": name, **fields})
    return answer.status_code, answer.json()["error"]


async def test_results_fall_by_score_and_equal_scores_keep_their_order(scorers):
    results = (await ask(scorers, "rerank", "reranker", query=QUERY, documents=DOCUMENTS)).json()["results"]
    scores = [one["score"] for one in results]
    assert scores == sorted(scores, reverse=True)
    assert sorted(one["index"] for one in results) == [0, 1, 2, 3, 4]
    places = [one["index"] for one in results]
    assert places.index(2) == places.index(0) + 1
    assert all("document" not in one for one in results)
    best = (await ask(scorers, "rerank", "reranker", query=QUERY, documents=DOCUMENTS, topN=2)).json()["results"]
    assert best == results[:2]
    more = (await ask(scorers, "rerank", "reranker", query=QUERY, documents=DOCUMENTS, topN=99)).json()["results"]
    assert more == results


async def test_documents_come_back_as_they_were_sent(scorers):
    given = ["green", {"text": "blue", "id": 7, "tags": ["a"]}]
    fields = {"query": QUERY, "documents": given, "returnDocuments": True, "tokenCounts": True}
    answer = (await ask(scorers, "rerank", "reranker", **fields)).json()
    for one in answer["results"]:
        assert one["document"] == given[one["index"]]
    assert (answer["tokenCounts"], answer["truncated"]) == ([5, 5], [False, False])


@pytest.mark.parametrize(
    ("path", "model", "documents", "returns"),
    [
        ("/rerank", "name", "documents", "returnDocuments"),
        ("/v1/rerank", "model", "documents", "return_documents"),
        ("/v1/reranking", "model", "input", "return_input"),
    ],
)
async def test_a_document_may_hold_any_values(scorers, path, model, documents, returns):
    given = [{"text": "green", "id": 2**100, "deep": json.loads("[" * 600 + "]" * 600)}]
    body = {model: "reranker", "query": QUERY, documents: given, returns: True}
    answer = (await scorers.inference.post(path, json=body)).json()
    (result,) = answer.get("results") or answer["data"]
    assert result.get("document", result.get("input")) == given[0]


async def test_scores_are_the_activation_of_raw_scores(scorers):
    pairs = [[QUERY, document] for document in DOCUMENTS]
    scores = (await ask(scorers, "score", "reranker", pairs=pairs)).json()["scores"]
    raw = (await ask(scorers, "score", "reranker", pairs=pairs, rawScores=True)).json()["scores"]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array(raw))), atol=1e-6)
    ranked = (await ask(scorers, "rerank", "reranker", query=QUERY, documents=DOCUMENTS)).json()["results"]
    np.testing.assert_allclose([one["score"] for one in ranked], sorted(scores, reverse=True), atol=1e-6)


async def test_a_pair_that_is_too_long_is_told_or_refused(scorers):
    long = "w1 " * 60
    answer = await ask(scorers, "rerank", "reranker", query=QUERY, documents=["green", long])
    assert answer.headers["x-truncated-texts"] == "1"
    fields = {"query": QUERY, "documents": ["green", long], "truncate": False}
    status, error = await refused(scorers, "rerank", "reranker", **fields)
    assert (status, error["code"], error["param"]) == (400, "text_too_long", "documents[1]")
    assert (error["tokens"], error["limit"]) == (64, 32)
    status, error = await refused(scorers, "score", "reranker", pairs=[[long, "green"]], truncate=False)
    assert (status, error["param"]) == (400, "pairs[0]")


@pytest.mark.parametrize(
    ("route", "name", "fields", "status", "param", "words"),
    [
        ("rerank", "org/model", {"query": "a", "documents": ["b"]}, 400, "name", "POST /embed_text"),
        ("score", "org/model", {"pairs": [["a", "b"]]}, 400, "name", "POST /embed_text"),
        ("classify_text", "org/model", {"text": "a"}, 400, "name", "POST /embed_text"),
        ("classify_text_zero_shot", "org/model", {"text": "a", "labels": ["b"]}, 400, "name", "POST /embed_text"),
        ("embed_text", "reranker", {"text": "a"}, 400, "text", "POST /rerank"),
        ("rerank", "classifier", {"query": "a", "documents": ["b"]}, 400, "name", "3 scores"),
        ("classify_text_zero_shot", "classifier", {"text": "a", "labels": ["b"]}, 400, "name", "'entailment'"),
        ("rerank", "nowhere", {"query": "a", "documents": ["b"]}, 404, "name", "nowhere"),
        ("rerank", "reranker", {"query": "a", "documents": []}, 400, "documents", ""),
        ("rerank", "reranker", {"query": "a", "documents": [1]}, 400, "documents[0]", ""),
        ("rerank", "reranker", {"query": "a", "documents": [{"body": "b"}]}, 400, "documents[0].text", "text"),
        ("rerank", "reranker", {"documents": ["b"]}, 400, "query", ""),
        ("rerank", "reranker", {"query": "a", "documents": ["b"], "topN": 0}, 400, "topN", "expected int >= 1, got 0"),
        ("rerank", "reranker", {"query": "a", "documents": ["b"], "top_n": -5}, 400, "topN", "got -5"),
        ("rerank", "reranker", {"query": "a", "documents": ["b"], "top_k": 1}, 400, "top_k", ""),
        ("rerank", "reranker", {"query": "a", "documents": ["b"] * 41}, 413, "documents", "40"),
        ("rerank", "reranker", {"query": "a" * 201, "documents": ["b"]}, 413, "query", "200"),
        ("rerank", "reranker", {"query": "a", "documents": ["b", "c" * 201]}, 413, "documents[1]", "200"),
        ("rerank", "reranker", {"query": "a", "documents": ["b"], "promptName": "x"}, 400, "promptName", "'x'"),
        ("score", "reranker", {"pairs": [["a"]]}, 400, "pairs[0]", ""),
        ("score", "reranker", {"pairs": [["a", "b"]] * 41}, 413, "pairs", "40"),
        ("classify_text", "classifier", {"text": ["a", "b"], "textPair": ["c"]}, 400, "textPair", "1 texts"),
        ("classify_text", "classifier", {"text": "a", "topK": 0}, 400, "topK", ""),
        (
            "classify_text_zero_shot",
            "classifier",
            {"text": "a", "labels": ["b"], "hypothesisTemplate": "none"},
            400,
            "hypothesisTemplate",
            "has no {} for the label",
        ),
        ("classify_text_zero_shot", "classifier", {"text": ["a"] * 9, "labels": ["b"] * 5}, 413, "labels", "45"),
    ],
)
async def test_what_cannot_be_answered_names_the_field(scorers, route, name, fields, status, param, words):
    got, error = await refused(scorers, route, name, **fields)
    assert (got, error["param"]) == (status, param), error
    assert words in error["message"]


async def test_a_text_that_is_too_long_for_a_label_is_numbered_as_in_the_request(tmp_path, monkeypatch):
    """Not as one of the pairs that texts and labels make."""
    monkeypatch.setattr("planes.LABELS", ("contradiction", "neutral", "entailment"))
    async with running_planes(tmp_path) as planes:
        body = {"name": "nli", "library": "sentence_transformers", "task": "classify"}
        assert (await planes.model.post("/load_model", json=body)).status_code == 200
        fields = {"text": ["red", "green " * 40], "labels": ["w1", "w2", "w3"]}
        status, error = await refused(planes, "classify_text_zero_shot", "nli", **fields, truncate=False)
        assert (status, error["param"], error["index"]) == (400, "text[1]", 1)
        results = (await ask(planes, "classify_text_zero_shot", "nli", **fields)).json()["results"]
        assert [sorted(one["label"] for one in row) for row in results] == [["w1", "w2", "w3"]] * 2


async def test_documents_with_large_numbers_and_deep_ones_come_back(scorers):
    """Integers of more than 64 bits stay exact."""
    deep = json.loads("[" * 500 + "1" + "]" * 500)
    documents = [{"text": "green", "id": 10**30}, {"text": "blue", "deep": deep, "id": -(2**63) - 1}]
    plain = (await ask(scorers, "rerank", "reranker", query="red", documents=["green", "blue"])).json()["results"]
    given = await ask(scorers, "rerank", "reranker", query="red", documents=documents, returnDocuments=True)
    assert given.json()["results"] == [{**one, "document": documents[one["index"]]} for one in plain]
    for depth in range(900, 1000, 4):  # where it is too deep, that is the caller's mistake
        body = '{"name": "reranker", "query": "a", "returnDocuments": true, "documents": [{"text": "b", "x": %s1%s}]}'
        answer = await scorers.inference.post("/rerank", content=body % ("[" * depth, "]" * depth))
        assert answer.status_code in (200, 400)


async def test_a_document_that_fails_the_engine_is_named(scorers):
    status, error = await refused(scorers, "rerank", "reranker", query="red", documents=["green", "poison"])
    assert (status, error["param"]) == (500, "documents[1]")


async def test_texts_and_pairs_are_classified(scorers):
    for fields in ({"text": ["red", "green"]}, {"text": ["red", "green"], "textPair": ["blue", "w1"]}):
        results = (await ask(scorers, "classify_text", "classifier", **fields)).json()["results"]
        assert [sorted(one["label"] for one in result) for result in results] == [sorted(LABELS)] * 2
        for result in results:
            scores = [one["score"] for one in result]
            assert scores == sorted(scores, reverse=True)
            assert sum(scores) == pytest.approx(1, abs=1e-5)
    (best,) = (await ask(scorers, "classify_text", "classifier", text="red", topK=1)).json()["results"]
    assert best == (await ask(scorers, "classify_text", "classifier", text="red")).json()["results"][0][:1]
    (alone,) = (await ask(scorers, "classify_text", "reranker", text="red")).json()["results"]
    assert alone[0]["label"] == "LABEL_0"


async def test_a_stored_reranker_serves_its_tasks_without_a_new_conversion(scorers):
    runs = len(scorers.export.runs)
    for task in ("rerank", "classify"):
        body = {"name": "reranker", "library": "sentence_transformers", "task": task}
        assert (
            "already loaded; its task is rerank"
            in (await scorers.model.post("/load_model", json=body)).json()["message"]
        )
    assert len(scorers.export.runs) == runs
    listed = (await scorers.model.get("/loaded_models")).json()["models"]
    assert {one["name"]: one.get("task", "embed") for one in listed} == {
        "org/model": "embed",
        "reranker": "rerank",
        "classifier": "classify",
    }
    size = await scorers.model.get("/model_embedding_size", params={"name": "reranker"})
    assert size.status_code == 400
    described = (await scorers.inference.get("/v1/models/classifier")).json()
    assert (described["task"], described["dimensions"], described["labels"]) == ("classify", None, list(LABELS))
    assert (described["modalities"], described["output_dtypes"]) == ([], [])
    labels = await scorers.model.get("/model_classification_labels", params={"name": "classifier"})
    assert labels.json()["labels"] == list(LABELS)
