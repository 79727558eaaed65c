"""vLLM's dialect: the same numbers as Ingrain's own API has, vLLM's answers and errors."""

import base64

import numpy as np
import pytest

from ingrain.repository.manifest import TextPreprocess
from neighbours import (
    DOCUMENTS,
    LONG,
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
from planes import MAX_TOKENS, FakeExport, running_planes

CUT = {"truncate_prompt_tokens": -1}


@pytest.fixture
async def planes(tmp_path):
    async with running_models(tmp_path, "dense", "reranker", "classifier", "clip") as planes:
        yield planes


def scores_of(answer):
    assert [one["index"] for one in answer["data"]] == list(range(len(answer["data"])))
    return [one["score"] for one in answer["data"]]


async def test_scores_of_a_cross_encoder(planes):
    expected = await native_ranking(planes)
    for names in (("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2"), ("queries", "items")):
        for path in ("/score", "/v1/score"):
            body = dict(zip(names, (QUERY, DOCUMENTS), strict=True))
            answer = await ask(planes, path, model="reranker", **body)
            assert scores_of(answer) == pytest.approx([expected[place] for place in range(3)], abs=1e-6)
    assert (answer["object"], answer["model"], answer["id"][:6]) == ("list", "reranker", "score-")
    pairs = await ask(planes, "/score", model="reranker", text_1=[QUERY] * 3, text_2=DOCUMENTS)
    assert scores_of(pairs) == scores_of(answer)
    raw = await ask(planes, "/score", model="reranker", text_1=QUERY, text_2=DOCUMENTS, use_activation=False)
    logits = await native_ranking(planes, rawScores=True)
    assert scores_of(raw) == pytest.approx([logits[place] for place in range(3)], abs=1e-6)
    own = await ask(planes, "/score", name="reranker", pairs=[[QUERY, DOCUMENTS[0]]])
    assert own["scores"] == pytest.approx([expected[0]], abs=1e-6), "Ingrain's own route has the same path"


async def test_scores_of_an_embedding_model_are_cosines(planes):
    vectors = await native_vectors(planes, [QUERY, *DOCUMENTS])
    answer = await ask(planes, "/v1/score", model="dense", text_1=QUERY, text_2=DOCUMENTS)
    np.testing.assert_allclose(scores_of(answer), vectors[1:] @ vectors[0], atol=1e-6)


@pytest.mark.parametrize(
    ("path", "extra"),
    [("/rerank", {}), ("/v1/rerank", {"truncate_prompt_tokens": -1}), ("/v2/rerank", {"use_activation": True})],
)
async def test_reranking(planes, path, extra):
    expected = await native_ranking(planes)
    answer = await ask(planes, path, model="reranker", query=QUERY, documents=DOCUMENTS, **extra)
    assert [one["index"] for one in answer["results"]] == list(expected)
    assert [one["relevance_score"] for one in answer["results"]] == pytest.approx(list(expected.values()), abs=1e-6)
    assert all(one["document"] == {"text": DOCUMENTS[one["index"]]} for one in answer["results"])
    documents = [{"text": text} for text in DOCUMENTS]
    short = await ask(planes, path, model="reranker", query=QUERY, documents=documents, top_n=1, **extra)
    assert short["results"] == answer["results"][:1]
    alone = await ask(planes, path, model="reranker", query=QUERY, documents=DOCUMENTS[0], **extra)
    assert alone["results"][0]["relevance_score"] == pytest.approx(expected[0], abs=1e-6)
    assert (await ask(planes, path, model="reranker", query=QUERY, documents=DOCUMENTS, top_n=0, **extra))[
        "results"
    ] == answer["results"]


async def test_texts_are_cut_at_the_limits_of_the_request(planes):
    limits = {"max_tokens_per_query": 1, "max_tokens_per_doc": 2}
    cut = await ask(planes, "/score", model="reranker", text_1=QUERY, text_2=["green blue", "blue"])
    given = {"text_1": QUERY + " green", "text_2": ["green blue red", "blue"], "max_tokens_per_doc": 2}
    assert scores_of(await ask(planes, "/score", model="reranker", **given | limits)) == scores_of(cut)
    vectors = await native_vectors(planes, [QUERY, "green blue"])
    cosines = await ask(planes, "/score", model="dense", text_1="red red", text_2=["green blue red"], **limits)
    np.testing.assert_allclose(scores_of(cosines), [vectors[0] @ vectors[1]], atol=1e-6)
    for path, extra in (("/rerank", {}), ("/v1/rerank", {"truncation_side": "left"}), ("/v2/rerank", {})):
        body = {"model": "reranker", "query": given["text_1"], "documents": given["text_2"], **limits, **extra}
        ranked = (await ask(planes, path, **body))["results"]
        found = [one["relevance_score"] for one in sorted(ranked, key=lambda one: one["index"])]
        assert found == pytest.approx(scores_of(cut), abs=1e-6)
        assert ranked[0]["document"]["text"] in given["text_2"], "documents are returned as they were given"
        unlimited = await ask(planes, path, **body | {"max_tokens_per_query": 0, "max_tokens_per_doc": 0})
        assert unlimited["results"] != ranked


async def test_classes(planes):
    expected = await native_classes(planes, TEXTS)
    answer = await ask(planes, "/classify", model="classifier", input=TEXTS)
    for one, classes in zip(answer["data"], expected, strict=True):
        assert (one["label"], one["num_classes"]) == (next(iter(classes)), 3)
        assert sorted(one["probs"]) == pytest.approx(sorted(classes.values()), abs=1e-6)


async def test_pooling_gives_what_the_model_is_for(planes):
    expected = await native_vectors(planes, TEXTS)
    answer = await ask(planes, "/pooling", model="dense", input=TEXTS)
    np.testing.assert_allclose([one["data"] for one in answer["data"]], expected, atol=1e-6)
    coded = await ask(planes, "/pooling", model="dense", input=TEXTS, encoding_format="base64", task="embed")
    numbers = [np.frombuffer(base64.b64decode(one["data"]), "<f4") for one in coded["data"]]
    np.testing.assert_allclose(numbers, expected, atol=1e-6)
    own = await ask(planes, "/pooling", model="dense", input=TEXTS, use_activation=False, dimensions=3)
    cut = await native_vectors(planes, TEXTS, normalize=False, nDims=3)
    np.testing.assert_allclose([one["data"] for one in own["data"]], cut, atol=1e-6)
    same = await ask(planes, "/pooling", model="dense", input=TEXTS, normalize=False, dimensions=3)
    assert same["data"] == own["data"]
    classes = await ask(planes, "/pooling", model="classifier", input="red")
    probabilities = (await native_classes(planes, ["red"]))[0]
    assert sorted(classes["data"][0]["data"]) == pytest.approx(sorted(probabilities.values()), abs=1e-6)


async def test_vectors_of_tokens_are_those_of_documents_for_late_interaction(tmp_path):
    text = TextPreprocess(max_tokens=MAX_TOKENS, prompts={"query": "w5 ", "document": "w6 "})
    async with running_planes(tmp_path, export=FakeExport(text=text)) as planes:
        await planes.load("bge-m3")
        native = await ask(planes, "/embed_multi_vector", name="bge-m3", text=TEXTS, inputType="document")
        answer = await ask(planes, "/pooling", model="bge-m3", input=TEXTS, task="token_embed")
        for one, expected in zip(answer["data"], native["embeddings"], strict=True):
            np.testing.assert_allclose(one["data"], expected, atol=1e-6)


async def test_messages_are_embedded_as_a_text_or_an_image(planes):
    def message(*parts):
        return {"model": "clip", "messages": [{"role": "user", "content": list(parts)}]}

    text, image = {"type": "text", "text": "red"}, {"type": "image_url", "image_url": {"url": PICTURE}}
    answer = await ask(planes, "/v1/embeddings", **message(image))
    np.testing.assert_allclose(answer["data"][0]["embedding"], await native_image(planes), atol=1e-6)
    answer = await ask(planes, "/v1/embeddings", **message(text))
    red = (await native_vectors(planes, ["red"], "clip"))[0]
    np.testing.assert_allclose(answer["data"][0]["embedding"], red, atol=1e-6)
    plain = {"model": "clip", "messages": [{"role": "user", "content": "red"}]}
    assert (await ask(planes, "/v1/embeddings", **plain))["data"] == answer["data"]
    for body in (message(text, image), message(), message({"type": "image_url"}), {**plain, "input": "red"}):
        assert (await refused(planes, "/v1/embeddings", **body)).json()["error"]["param"] == "messages"


async def test_a_request_without_a_model_gets_the_only_one_that_can(planes):
    answer = await ask(planes, "/score", text_1=QUERY, text_2=DOCUMENTS, truncate_prompt_tokens=-1, model="reranker")
    assert answer["model"] == "reranker"
    assert (await ask(planes, "/rerank", query=QUERY, documents=DOCUMENTS, model="reranker"))["model"] == "reranker"
    error = (await refused(planes, "/pooling", input="red")).json()["error"]
    assert "INGRAIN_DEFAULT_MODELS" in error["message"]


async def test_what_is_too_long_is_refused_unless_it_may_be_cut(planes):
    for path, body in (
        ("/score", {"model": "reranker", "text_1": QUERY, "text_2": LONG}),
        ("/rerank", {"model": "reranker", "query": QUERY, "documents": [LONG]}),
        ("/pooling", {"model": "dense", "input": LONG}),
        ("/classify", {"model": "classifier", "input": LONG}),
    ):
        error = (await refused(planes, path, **body)).json()["error"]
        assert (error["code"], error["type"]) == (400, "text_too_long")
        assert "send truncate_prompt_tokens -1" in error["message"]
        answer = await planes.inference.post(path, json={**body, "truncate_prompt_tokens": -1})
        assert (answer.status_code, answer.headers["x-truncated-texts"]) == (200, "1")
    told = await planes.inference.post("/score", json={"model": "dense", "text_1": LONG, "text_2": LONG, **CUT})
    assert told.headers["x-truncated-texts"] == "2"
    ends = "red red green " + LONG
    for side in ("left", "right"):
        body = {"model": "reranker", "text_1": QUERY, "text_2": ends, "truncate_prompt_tokens": -1}
        cut = await ask(planes, "/score", **body, truncation_side=side)
        same = {"texts": [ends], "query": QUERY, "truncate": True, "truncation_direction": side.capitalize()}
        theirs = (await planes.inference.post("/tei/reranker/rerank", json=same)).json()
        assert scores_of(cut) == pytest.approx([theirs[0]["score"]], abs=1e-6)
    short = await ask(planes, "/pooling", model="dense", input="red green blue", truncate_prompt_tokens=3)
    red = await native_vectors(planes, ["red"])
    np.testing.assert_allclose(short["data"][0]["data"], red[0], atol=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/score", {"model": "absent", "text_1": "a", "text_2": "b"}, 404, "model"),
        ("/score", {"model": "reranker", "text_1": "a"}, 400, "text_2"),
        ("/score", {"model": "reranker", "text_1": ["a", "b"], "text_2": ["a"] * 3}, 400, "text_2"),
        ("/score", {"model": "reranker", "text_1": "a", "queries": "a", "text_2": "b"}, 400, "text_1"),
        ("/score", {"model": "classifier", "text_1": "a", "text_2": "b"}, 400, "model"),
        ("/score", {"model": "reranker", "text_1": 3, "text_2": "b"}, 400, "text_1"),
        ("/rerank", {"model": "dense", "query": "a", "documents": ["b"]}, 400, "model"),
        ("/rerank", {"model": "reranker", "query": "a", "documents": []}, 400, "documents"),
        ("/rerank", {"model": "reranker", "query": "a", "documents": [{"title": "b"}]}, 400, "documents[0]"),
        ("/classify", {"model": "dense", "input": "a"}, 400, "model"),
        ("/pooling", {"model": "dense", "input": "a", "truncate_prompt_tokens": 0}, 400, "truncate_prompt_tokens"),
        ("/pooling", {"model": "dense", "input": "a", "dimensions": 99}, 400, "dimensions"),
        ("/pooling", {"model": "clip", "input": "a", "task": "token_embed"}, 400, "model"),
        ("/pooling", {"model": "dense", "input": "a", "task": "score"}, 400, "task"),
        ("/pooling", {"model": "dense", "input": "a", "embed_dtype": "float16"}, 400, "embed_dtype"),
        ("/pooling", {"model": "dense", "input": "a", "endianness": "big"}, 400, "endianness"),
        ("/pooling", {"model": "dense", "input": "a", "add_special_tokens": False}, 400, "add_special_tokens"),
        ("/pooling", {"model": "classifier", "input": "a", "normalize": False}, 400, "normalize"),
        ("/classify", {"model": "classifier", "input": "a", "add_special_tokens": False}, 400, "add_special_tokens"),
        (
            "/rerank",
            {"model": "reranker", "query": "a", "documents": ["b"], "max_tokens_per_doc": -1},
            400,
            "max_tokens_per_doc",
        ),
        ("/score", {"model": "reranker", "text_1": "a", "text_2": "b", "truncate_prompt_tokens": 7}, 400, None),
    ],
    ids=str,
)
async def test_mistakes_have_vllms_error_object(planes, path, body, status, param):
    answer = await refused(planes, path, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, status)
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["param"] == (param or "truncate_prompt_tokens")


async def test_the_tokens_of_a_text_and_the_text_of_tokens(planes):
    answer = await ask(planes, "/tokenize", model="dense", prompt="red green", return_token_strs=True)
    assert answer == {"count": 4, "max_model_len": 32, "tokens": [2, 4, 5, 3], "token_strs": answer["token_strs"]}
    assert answer["token_strs"][1:3] == ["red", "green"]
    bare = await ask(planes, "/tokenize", model="dense", prompt="red green", add_special_tokens=False)
    assert (bare["tokens"], bare["token_strs"]) == ([4, 5], None)
    assert (await ask(planes, "/tokenize", model="dense", prompt=LONG))["count"] == 62, "it is not cut"
    assert (await ask(planes, "/detokenize", model="dense", tokens=[4, 5])) == {"prompt": "red green"}
    assert (await refused(planes, "/detokenize", model="absent", tokens=[4])).json()["error"]["code"] == 404
    assert (await refused(planes, "/detokenize", model="dense", tokens=[-1])).json()["error"]["code"] == 400


async def test_the_version_is_told(planes):
    assert list((await planes.inference.get("/version")).json()) == ["version"]
