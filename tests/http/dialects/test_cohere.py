"""Cohere's API: vectors and scores equal those of the native routes; fields, answers and errors are Cohere's."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ingrain.repository.manifest import TextPreprocess
from ingrain.settings import Settings
from planes import MAX_TOKENS, WIDTH, FakeExport, running_planes

TEXTS = ["red green", "blue", ""]
QUERY, DOCUMENTS = "red", ["green", "blue", "w1 w2 w3", "green", ""]
SAMPLE = np.random.default_rng(1).normal(size=(50, WIDTH)).astype(np.float32)
OF_COHERE = {"X-Fern-SDK-Name": "cohere"}
LONG = "w1 " * (MAX_TOKENS + 8)


def picture(shade: int) -> str:
    file = io.BytesIO()
    pixels = np.arange(20 * 24 * 3, dtype=np.uint8).reshape(20, 24, 3) + np.uint8(shade)
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.fixture
async def planes(tmp_path):
    """A text model, one for texts and images, a reranker and a classifier."""
    settings = Settings(max_items=40, max_text_chars=400, model_aliases=("embed-english-v3.0=org/model",))
    async with running_planes(tmp_path, settings, export=FakeExport(sample=SAMPLE)) as planes:
        await planes.load()
        await planes.load("clip", "open_clip")
        for name, task in (("reranker", "rerank"), ("classifier", "classify")):
            body = {"name": name, "library": "sentence_transformers", "task": task}
            answer = await planes.model.post("/load_model", json=body)
            assert answer.status_code == 200, answer.text
        yield planes


async def ask(planes, path, headers=None, **body):
    answer = await planes.inference.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def floats(planes, path="/v2/embed", **body) -> np.ndarray:
    body = {"model": "org/model", "embedding_types": ["float"], **body}
    return np.array((await ask(planes, path, **body)).json()["embeddings"]["float"])


async def native(planes, texts=TEXTS, name="org/model", **fields) -> np.ndarray:
    answer = await planes.embed(texts, name, **fields)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["embeddings"])


async def test_vectors_equal_those_of_the_native_route(planes):
    body = {"model": "org/model", "texts": TEXTS, "input_type": "search_document", "embedding_types": ["float"]}
    for path, version in (("/v1/embed", "1"), ("/v2/embed", "2"), ("/cohere/v1/embed", "1"), ("/cohere/v2/embed", "2")):
        given = (await ask(planes, path, **body)).json()
        np.testing.assert_allclose(given["embeddings"]["float"], await native(planes), atol=1e-6)
        assert (given["texts"], given["response_type"], len(given["id"])) == (TEXTS, "embeddings_by_type", 36)
        assert given["meta"] == {"api_version": {"version": version}, "billed_units": {"input_tokens": 9}}


async def test_version_1_has_plain_vectors_unless_it_names_types(planes):
    given = (await ask(planes, "/v1/embed", model="org/model", texts=TEXTS)).json()
    np.testing.assert_allclose(given["embeddings"], await native(planes), atol=1e-6)
    assert (given["response_type"], given["texts"]) == ("embeddings_floats", TEXTS)
    two = (await ask(planes, "/v2/embed", model="org/model", texts=TEXTS)).json()
    np.testing.assert_allclose(two["embeddings"]["float"], given["embeddings"], atol=1e-6)


async def test_several_types_are_made_of_vectors_that_are_computed_once(planes):
    kinds = ["int8", "float", "uint8", "binary", "ubinary", "base64", "float"]
    before = len(planes.engine.batches)
    body = {"model": "org/model", "texts": ["red green"], "embedding_types": kinds, "output_dimension": 5}
    given = (await ask(planes, "/v2/embed", **body)).json()["embeddings"]
    assert len(planes.engine.batches) == before + 1
    assert sorted(given) == sorted(set(kinds))
    for kind in ("float", "int8", "uint8", "binary", "ubinary"):
        expected = await native(planes, ["red green"], outputDtype=kind, nDims=5)
        np.testing.assert_allclose(given[kind], expected, atol=1e-6)
        alone = (await ask(planes, "/v2/embed", **body | {"embedding_types": [kind]})).json()["embeddings"]
        assert alone == {kind: given[kind]}
    numbers = np.frombuffer(base64.b64decode(given["base64"][0]), "<f4")
    np.testing.assert_allclose(numbers, given["float"][0], atol=1e-7)


async def test_images_and_texts_of_inputs_keep_their_places(planes):
    pictures = [picture(1), picture(90)]
    images = await planes.inference.post("/embed_image", json={"name": "clip", "image": pictures})
    expected = np.array(images.json()["embeddings"])
    given = await ask(planes, "/v2/embed", model="clip", images=pictures, input_type="image")
    np.testing.assert_allclose(given.json()["embeddings"]["float"], expected, atol=1e-6)
    assert given.json()["meta"]["billed_units"] == {"images": 2}
    assert given.json()["texts"] == []
    inputs = [
        {"content": [{"type": "image_url", "image_url": {"url": pictures[0], "detail": "auto"}}]},
        {"content": [{"type": "text", "text": "red"}]},
        {"content": [{"type": "image_url", "image_url": {"url": pictures[1]}}]},
    ]
    mixed = await floats(planes, model="clip", inputs=inputs, input_type="search_document")
    (red,) = await native(planes, ["red"], "clip")
    np.testing.assert_allclose(mixed, [expected[0], red, expected[1]], atol=1e-6)
    bits = (await ask(planes, "/v1/embed", model="clip", images=pictures, embedding_types=["ubinary", "float"])).json()
    np.testing.assert_array_equal(np.packbits(expected > 0, axis=1), bits["embeddings"]["ubinary"])
    plain = (await ask(planes, "/v1/embed", model="clip", images=pictures)).json()["embeddings"]
    np.testing.assert_allclose(plain, expected, atol=1e-6)


async def test_input_type_selects_a_prompt_of_the_model(tmp_path):
    text = TextPreprocess(max_tokens=MAX_TOKENS, prompts={"query": "w5 ", "document": "w6 "})
    async with running_planes(tmp_path, export=FakeExport(text=text)) as planes:
        await planes.load()
        for kind, prompt in (("search_query", "w5 "), ("search_document", "w6 "), (None, "")):
            found = await floats(planes, texts=["red"], input_type=kind)
            np.testing.assert_allclose(found, await native(planes, [f"{prompt}red"], prompt=""), atol=1e-6)
        body = {"model": "org/model", "texts": ["red"], "input_type": "clustering"}
        refused = await planes.inference.post("/v2/embed", json=body)
        assert refused.status_code == 400
        assert "input_type 'clustering'" in refused.json()["message"]


async def test_a_model_without_prompts_embeds_all_kinds_alike(planes):
    for kind in ("search_query", "search_document", "classification", "clustering", None):
        np.testing.assert_allclose(await floats(planes, texts=TEXTS, input_type=kind), await native(planes), atol=1e-6)


async def test_long_texts_are_cut_where_the_request_says_and_that_is_told(planes):
    long = f"red {LONG}green"
    answer = await ask(planes, "/v2/embed", model="org/model", texts=["red", long])
    assert answer.headers["x-truncated-texts"] == "1"
    assert answer.json()["meta"]["warnings"] == ["1 of 2 texts were too long and were cut."]
    start = await floats(planes, texts=[long], truncate="END")
    end = await floats(planes, texts=[long], truncate="START")
    np.testing.assert_allclose(start, await native(planes, [long]), atol=1e-6)
    np.testing.assert_allclose(end, await native(planes, [("w1 " * (MAX_TOKENS - 3)) + "green"]), atol=1e-6)
    body = {"model": "org/model", "texts": ["red", long], "truncate": "NONE"}
    refused = await planes.inference.post("/v2/embed", json=body)
    assert refused.status_code == 400
    assert refused.json()["message"].startswith(f"too many tokens: texts[1] has {MAX_TOKENS + 12} tokens")


async def test_max_tokens_cuts_before_the_models_own_limit(planes):
    texts = ["red green blue", "blue"]
    for truncate, kept in ((None, "red green"), ("END", "red green"), ("START", "green blue")):
        found = await floats(planes, texts=texts, truncate=truncate, max_tokens=2)
        np.testing.assert_allclose(found, await native(planes, [kept, "blue"]), atol=1e-6)
    same = await floats(planes, texts=[LONG], max_tokens=10_000)
    np.testing.assert_allclose(same, await native(planes, [LONG]), atol=1e-6)
    body = {"model": "org/model", "texts": texts, "truncate": "NONE", "max_tokens": 2}
    refused = await planes.inference.post("/v2/embed", json=body)
    assert refused.status_code == 400
    assert "texts[0] has 3 tokens, and the limit is 2" in refused.json()["message"]


async def scores(planes, documents=DOCUMENTS) -> list[float]:
    body = {"name": "reranker", "query": QUERY, "documents": documents}
    results = (await planes.inference.post("/rerank", json=body)).json()["results"]
    return [one["score"] for one in sorted(results, key=lambda one: one["index"])]


async def test_documents_are_ranked_as_by_the_native_route(planes):
    expected = await scores(planes)
    for path in ("/v1/rerank", "/v2/rerank", "/cohere/v2/rerank"):
        answer = (await ask(planes, path, model="reranker", query=QUERY, documents=DOCUMENTS)).json()
        assert [one["index"] for one in answer["results"]] == sorted(range(5), key=lambda place: -expected[place])
        for one in answer["results"]:
            score = pytest.approx(expected[one["index"]], abs=1e-6)
            assert one == {"index": one["index"], "relevance_score": score}
        assert answer["meta"]["billed_units"] == {"search_units": 1}
        best = (await ask(planes, path, model="reranker", query=QUERY, documents=DOCUMENTS, top_n=2)).json()
        assert best["results"] == answer["results"][:2]


async def test_fields_of_documents_are_read_in_the_given_order(planes):
    documents = [{"title": "green", "text": "blue", "id": 1}, {"title": "w1", "text": "w2"}, "red", {"text": "w3"}]
    body = {"query": QUERY, "documents": documents, "return_documents": True}  # the only reranker is the default
    for fields, texts in (
        ({}, ["blue", "w2", "red", "w3"]),
        ({"rank_fields": ["title", "text"]}, ["green\nblue", "w1\nw2", "red", "w3"]),
        ({"rank_fields": ["text", "title"]}, ["blue\ngreen", "w2\nw1", "red", "w3"]),
    ):
        results = (await ask(planes, "/v1/rerank", **body, **fields)).json()["results"]
        expected = await scores(planes, texts)
        for one in results:
            assert one["relevance_score"] == pytest.approx(expected[one["index"]], abs=1e-6)
            given = documents[one["index"]]
            assert one["document"] == (given if isinstance(given, dict) else {"text": given})


async def test_documents_are_cut_at_the_limit_of_the_request(planes):
    body = {"model": "reranker", "query": QUERY, "documents": ["green blue w1", "w2"], "max_tokens_per_doc": 2}
    results = (await ask(planes, "/v2/rerank", **body)).json()["results"]
    expected = await scores(planes, ["green blue", "w2"])
    assert all(abs(one["relevance_score"] - expected[one["index"]]) < 1e-6 for one in results)
    answer = await ask(planes, "/v2/rerank", **body | {"documents": [LONG], "max_tokens_per_doc": 4096})
    assert answer.headers["x-truncated-texts"] == "1"


async def test_many_documents_can_be_cut(planes, monkeypatch):
    """Cohere's clients in Haystack send 4096 with every request, and a request may have megabytes of documents."""
    monkeypatch.setattr("ingrain.tasks.tokenize._MOST", 50)
    body = {"model": "reranker", "query": QUERY, "documents": ["green " * 6] * 5}
    for limit in (4096, 2):
        results = (await ask(planes, "/v2/rerank", **body, max_tokens_per_doc=limit)).json()["results"]
        assert len(results) == 5
    body["documents"][3] = "green " * 9
    await ask(planes, "/v2/rerank", **body, max_tokens_per_doc=4096)
    refused = await planes.inference.post("/v2/rerank", json={**body, "max_tokens_per_doc": 2})
    assert (refused.status_code, "documents[3] has 54 characters" in refused.json()["message"]) == (400, True)


async def test_clients_of_jina_and_vllm_find_what_they_read_in_the_answer(planes):
    body = {"model": "reranker", "query": QUERY, "documents": DOCUMENTS, "return_documents": True, "user": "me"}
    answer = (await ask(planes, "/v1/rerank", **body)).json()
    assert (answer["model"], answer["usage"]) == ("reranker", {"total_tokens": 26})
    assert answer["results"][0]["document"] == {"text": DOCUMENTS[answer["results"][0]["index"]]}


MISTAKES = (
    ("embed", {"texts": None}, 400, "one of texts, images and inputs"),
    ("embed", {"images": ["x"]}, 400, "texts and images"),
    ("embed", {"texts": []}, 400, "texts"),
    ("embed", {"texts": "red"}, 400, "texts"),
    ("embed", {"texts": ["red", 1]}, 400, "texts[1]"),
    ("embed", {"texts": ["red"] * 41}, 400, "40"),
    ("embed", {"texts": ["w" * 401]}, 400, "texts[0]"),
    ("embed", {"input_type": "query"}, 400, "search_query"),
    ("embed", {"input_type": "image"}, 400, "'image'"),
    ("embed", {"embedding_types": ["float", "int4"]}, 400, "embedding_types"),
    ("embed", {"embedding_types": "float"}, 400, "embedding_types"),
    ("embed", {"truncate": "LEFT"}, 400, "START"),
    ("embed", {"output_dimension": WIDTH + 1}, 400, "output_dimension is 9"),
    ("embed", {"output_dimension": 0}, 400, "output_dimension"),
    ("embed", {"max_tokens": 0}, 400, "max_tokens"),
    ("embed", {"dimensions": 4}, 422, "unknown field: parameter 'dimensions'"),
    ("embed", {"model": "nowhere"}, 404, "nowhere"),
    ("embed", {"model": "reranker"}, 400, "does not embed texts"),
    ("embed", {"model": "clip", "texts": None, "images": ["rubbish"]}, 400, "images[0]"),
    ("embed", {"texts": None, "images": [picture(1)]}, 400, "images"),
    ("embed", {"model": "clip", "texts": None, "images": [picture(1)], "embedding_types": ["int8"]}, 400, "int8"),
    ("embed", {"texts": None, "inputs": [{"content": []}]}, 400, "inputs[0].content"),
    ("embed", {"texts": None, "inputs": [{"content": [{"type": "text"}]}]}, 400, "inputs[0].content"),
    (
        "embed",
        {"texts": None, "inputs": [{"content": [{"type": "text", "text": "a"}] * 2}]},
        400,
        "inputs[0].content has 2 parts",
    ),
    ("rerank", {"documents": []}, 400, "documents"),
    ("rerank", {"documents": ["a", 3]}, 400, "documents[1]"),
    ("rerank", {"documents": [{"body": "a"}]}, 400, "documents[0]"),
    ("rerank", {"documents": [{"text": 3}]}, 400, "documents[0]"),
    ("rerank", {"documents": ["a"] * 41}, 400, "40"),
    ("rerank", {"query": ""}, 400, "query"),
    ("rerank", {"query": None}, 400, "query"),
    ("rerank", {"top_n": 0}, 400, "top_n"),
    ("rerank", {"limit": 1}, 422, "unknown field: parameter 'limit'"),
    ("rerank", {"relevant_spans": {"mode": "enabled"}}, 400, "relevant_spans"),
    ("rerank", {"model": "nowhere"}, 404, "nowhere"),
    ("rerank", {"model": "org/model"}, 400, "cannot rerank"),
    ("rerank", {"model": "classifier"}, 400, "3 scores"),
)
RIGHT = {
    "embed": {"model": "org/model", "texts": ["red"], "input_type": "search_query"},
    "rerank": {"model": "reranker", "query": QUERY, "documents": DOCUMENTS},
}


async def test_mistakes_have_coheres_shape_and_status(planes):
    for version in ("v1", "v2"):
        for route, fields, status, words in MISTAKES:
            answer = await planes.inference.post(f"/{version}/{route}", json=RIGHT[route] | fields)
            assert answer.status_code == status, (fields, answer.text)
            assert list(answer.json()) == ["id", "message", "detail"]
            assert words in answer.json()["message"], fields
            assert answer.headers["x-request-id"] == answer.json()["id"]


async def test_only_version_1_has_a_default_model(planes):
    assert (await planes.inference.post("/v2/embed", json={"texts": ["red"]})).status_code == 400
    several = await planes.inference.post("/v1/embed", json={"texts": ["red"]})
    assert several.status_code == 400
    assert "clip, org/model" in several.json()["message"]
    assert (await planes.inference.post("/v2/rerank", json={"query": "a", "documents": ["b"]})).status_code == 400
    only = await ask(planes, "/v1/embed", images=[picture(1)])  # one model takes images
    assert np.shape(only.json()["embeddings"]) == (1, WIDTH)


async def test_bodies_that_are_no_json_are_refused_in_coheres_words(planes):
    for content in (b"", b"{", b"[]", b"\xff"):
        answer = await planes.inference.post("/v2/embed", content=content)
        assert (answer.status_code, list(answer.json())) == (400, ["id", "message", "detail"])
    missing = await planes.inference.post("/cohere/v2/chat", json={})
    assert (missing.status_code, list(missing.json())) == (404, ["id", "message", "detail"])


async def test_models_are_listed_for_coheres_clients(planes):
    listed = (await planes.inference.get("/v1/models", headers=OF_COHERE)).json()["models"]
    assert {one["name"]: one["endpoints"] for one in listed} == {
        "embed-english-v3.0": ["embed"],
        "org/model": ["embed"],
        "clip": ["embed"],
        "reranker": ["rerank"],
        "classifier": [],
    }
    ranking = await planes.inference.get("/cohere/v1/models", params={"endpoint": "rerank"})
    assert [one["name"] for one in ranking.json()["models"]] == ["reranker"]
    for name in ("org/model", "embed-english-v3.0"):
        one = (await planes.inference.get(f"/cohere/v1/models/{name}")).json()
        assert (one["name"], one["context_length"], one["endpoints"]) == (name, MAX_TOKENS, ["embed"])
    none = await planes.inference.get("/v1/models/none", headers=OF_COHERE)
    assert (none.status_code, list(none.json())) == (404, ["id", "message", "detail"])
    of_openai = (await planes.inference.get("/v1/models")).json()
    assert of_openai["object"] == "list"


async def test_tokens_of_a_text_are_those_of_the_models_tokenizer(planes):
    tokens = (await ask(planes, "/v1/tokenize", model="org/model", text="red w1 green")).json()
    assert tokens["token_strings"] == ["red", "w1", "green"]
    text = (await ask(planes, "/v1/detokenize", model="org/model", tokens=tokens["tokens"])).json()["text"]
    assert text == "red w1 green"
    for path, body in (("tokenize", {"text": ""}), ("detokenize", {"tokens": []}), ("detokenize", {"tokens": [-1]})):
        answer = await planes.inference.post(f"/v1/{path}", json={"model": "org/model", **body})
        assert (answer.status_code, list(answer.json())) == (400, ["id", "message", "detail"])


async def test_keys_are_checked(tmp_path):
    async with running_planes(tmp_path, Settings(api_keys=("secret",))) as planes:
        for key, status in (("secret", 200), ("other", 401)):
            answer = await planes.inference.post("/v1/check-api-key", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status
            assert answer.json().get("valid", False) == (status == 200)
        assert list(answer.json()) == ["id", "message", "detail"]
        assert (await planes.inference.post("/v2/embed", json={})).status_code == 401
