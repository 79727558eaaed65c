"""TEI's dialect: the vectors and scores of Ingrain's own routes, TEI's fields, shapes, errors and headers."""

import json

import numpy as np
import pytest
import pytest_asyncio

from ingrain.repository.manifest import TextPreprocess
from ingrain.settings import Settings
from planes import LABELS, MAX_TOKENS, WIDTH, FakeExport, ids_of, running_planes

TEXTS = ["red", "green blue", "", "w1 w2 w3"]
LONG = "w1 " * 60
PROMPTS = TextPreprocess(max_tokens=MAX_TOKENS, prompts={"query": "w7 "})


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def planes(tmp_path_factory):
    """Both planes with a model for each of TEI's routes."""
    export = FakeExport(text=PROMPTS)
    folder = tmp_path_factory.mktemp("planes")
    async with running_planes(folder, Settings(max_items=40, max_text_chars=400), export=export) as planes:
        for name, task in (
            ("org/model", "embed"),
            ("sparse", "embed_sparse"),
            ("tokens", "embed_tokens"),
            ("reranker", "rerank"),
            ("classifier", "classify"),
        ):
            body = {"name": name, "library": "sentence_transformers", "task": task}
            answer = await planes.model.post("/load_model", json=body)
            assert answer.status_code == 200, answer.text
        yield planes


async def ask(planes, path, body, **options):
    answer = await planes.inference.post(path, json=body, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def native(planes, path, **body):
    return await ask(planes, path, body)


async def vectors(planes, texts=TEXTS, **fields):
    answer = await native(planes, "/embed_text", name="org/model", text=texts, **fields)
    return np.array(answer["embeddings"])


def sigmoid(numbers):
    return 1 / (1 + np.exp(-np.array(numbers)))


@pytest.mark.parametrize("path", ["/embed", "/", "/tei/org/model/embed", "/tei/org/model"])
@pytest.mark.usefixtures("way")
async def test_vectors_are_bare_arrays_and_those_of_the_native_route(planes, path):
    got = await ask(planes, path, {"inputs": TEXTS})
    np.testing.assert_allclose(got, await vectors(planes), atol=1e-6)
    (alone,) = await ask(planes, path, {"inputs": TEXTS[1]})
    np.testing.assert_allclose(alone, got[1], atol=1e-6)


@pytest.mark.parametrize("path", ["/embed", "/"])
@pytest.mark.parametrize(
    ("fields", "own"),
    [
        ({"normalize": False}, {"normalize": False}),
        ({"normalize": None, "truncate": None, "dimensions": None, "prompt_name": None}, {}),
        ({"dimensions": 3}, {"nDims": 3}),
        ({"dimensions": 3, "normalize": False}, {"nDims": 3, "normalize": False}),
        ({"prompt_name": "query"}, {"promptName": "query"}),
        ({"encoding_format": "float", "unknown": [1]}, {}),
    ],
    ids=str,
)
async def test_fields_that_change_vectors_are_honoured(planes, path, fields, own):
    got = await ask(planes, path, {"inputs": TEXTS, **fields})
    np.testing.assert_allclose(got, await vectors(planes, **own), atol=1e-6)


async def test_options_in_parameters_of_the_root_are_honoured(planes):
    for options, own in (
        ({"prompt_name": "query"}, {"promptName": "query"}),
        ({"normalize": False, "dimensions": 3}, {"normalize": False, "nDims": 3}),
        ({}, {}),
    ):
        for path in ("/tei/org/model", "/") if options else ("/tei/org/model",):  # empty ones are for the classifier
            got = await ask(planes, path, {"inputs": TEXTS, "parameters": options})
            np.testing.assert_allclose(got, await vectors(planes, **own), atol=1e-6)
    body = {"inputs": LONG, "parameters": {"truncate": True}}
    assert len(await ask(planes, "/tei/org/model", body)) == 1
    assert len(await ask(planes, "/tei/classifier", body)) == 1
    differ = await planes.inference.post("/tei/org/model", json={**body, "truncate": False})
    assert (differ.status_code, "truncate" in differ.json()["error"]) == (422, True)


@pytest.mark.parametrize("path", ["/embed", "/"])
async def test_token_ids_are_those_of_the_models_tokenizer(planes, path):
    wanted = await vectors(planes)
    rows = [ids_of(text) for text in TEXTS]
    np.testing.assert_allclose(await ask(planes, path, {"inputs": rows}), wanted, atol=1e-6)
    np.testing.assert_allclose(await ask(planes, path, {"inputs": rows[1]}), wanted[1:2], atol=1e-6)


async def test_openais_clients_are_served_below_the_models_name(planes):
    wanted = await vectors(planes, nDims=3)
    body = {"input": TEXTS, "model": "text-embeddings-inference", "dimensions": 3}
    answer = await ask(planes, "/tei/org/model/v1/embeddings", body)
    np.testing.assert_allclose([one["embedding"] for one in answer["data"]], wanted, atol=1e-6)
    own = await ask(planes, "/v1/embeddings", {**body, "model": "org/model"})
    assert (answer["model"], answer["usage"]) == (own["model"], own["usage"])
    options = {"input": LONG, "prompt_name": "query", "truncate": True}
    cut = await planes.inference.post("/tei/org/model/v1/embeddings", json=options)
    wanted = await vectors(planes, [LONG], promptName="query")
    np.testing.assert_allclose([one["embedding"] for one in cut.json()["data"]], wanted, atol=1e-6)
    assert cut.headers["x-truncated-texts"] == "1"
    body["encoding_format"] = "base64"
    packed = await ask(planes, "/tei/org/model/v1/embeddings", body)
    assert packed["data"] == (await ask(planes, "/v1/embeddings", {**body, "model": "org/model"}))["data"]


@pytest.mark.parametrize(("side", "start"), [("Left", 10), ("left", 10), ("Right", 0), (None, 0)])
async def test_a_long_text_is_truncated_on_the_side_that_is_asked(planes, side, start):
    words = [f"w{number}" for number in range(40)]
    body = {"inputs": " ".join(words), "truncate": True, "truncation_direction": side}
    answer = await planes.inference.post("/embed", json=body)
    kept = " ".join(words[start : start + MAX_TOKENS - 2])
    np.testing.assert_allclose(answer.json(), await vectors(planes, [kept]), atol=1e-6)
    assert answer.headers["x-truncated-texts"] == "1"


async def test_headers_tell_size_and_time(planes):
    headers = (await planes.inference.post("/embed", json={"inputs": ["red", "green blue"]})).headers
    assert (headers["x-compute-characters"], headers["x-compute-tokens"]) == ("13", "7")
    assert int(headers["x-compute-time"]) == int(headers["x-total-time"]) >= 0
    assert "x-inference-time" not in headers
    ranked = await planes.inference.post("/rerank", json={"query": "red", "texts": ["green", "blue"]})
    assert (ranked.headers["x-compute-characters"], ranked.headers["x-compute-tokens"]) == ("15", "10")


@pytest.mark.parametrize("path", ["/embed_all", "/tei/tokens/embed_all"])
async def test_each_token_has_a_vector(planes, path):
    got = await ask(planes, path, {"inputs": TEXTS})
    wanted = (await native(planes, "/embed_tokens", name="tokens", text=TEXTS))["embeddings"]
    assert [len(rows) for rows in got] == [len(ids_of(text)) for text in TEXTS]
    for rows, expected in zip(got, wanted, strict=True):
        np.testing.assert_allclose(rows, expected, atol=1e-6)


@pytest.mark.parametrize("path", ["/embed_sparse", "/tei/sparse", "/tei/sparse/embed_sparse"])
async def test_sparse_vectors_are_lists_of_entries(planes, path):
    got = await ask(planes, path, {"inputs": TEXTS})
    wanted = (await native(planes, "/embed_sparse", name="sparse", text=TEXTS))["embeddings"]
    assert [[entry["index"] for entry in row] for row in got] == [row["indices"] for row in wanted]
    for row, expected in zip(got, wanted, strict=True):
        np.testing.assert_allclose([entry["value"] for entry in row], expected["values"], atol=1e-6)


@pytest.mark.parametrize("path", ["/similarity", "/", "/tei/org/model/similarity", "/tei/org/model"])
async def test_similarity_is_the_cosine_of_the_vectors(planes, path):
    first, *others = await vectors(planes)
    body = {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}}
    np.testing.assert_allclose(await ask(planes, path, body), others @ first, atol=1e-6)
    prompted, *others = await vectors(planes, promptName="query")
    got = await ask(planes, path, {**body, "parameters": {"prompt_name": "query"}})
    np.testing.assert_allclose(got, np.array(others) @ prompted, atol=1e-6)


@pytest.mark.parametrize("path", ["/rerank", "/", "/tei/reranker/rerank", "/tei/reranker"])
async def test_ranks_fall_by_score(planes, path):
    body = {"query": "red", "texts": TEXTS}
    own = await native(planes, "/rerank", name="reranker", query="red", documents=TEXTS)
    got = await ask(planes, path, body)
    assert [one["index"] for one in got] == [one["index"] for one in own["results"]]
    np.testing.assert_allclose([one["score"] for one in got], [one["score"] for one in own["results"]], atol=1e-6)
    assert all(set(one) == {"index", "score"} for one in got)
    raw = await ask(planes, path, {**body, "raw_scores": True, "return_text": True})
    np.testing.assert_allclose(sigmoid([one["score"] for one in raw]), [one["score"] for one in got], atol=1e-6)
    assert [one["text"] for one in raw] == [TEXTS[one["index"]] for one in raw]


async def test_a_long_pair_is_truncated_on_the_side_that_is_asked(planes):
    words = [f"w{number}" for number in range(60)]
    body = {"query": "red", "texts": [" ".join(words)], "truncate": True, "raw_scores": True}
    for side, kept in (("Left", words[-(MAX_TOKENS - 4) :]), ("Right", words[: MAX_TOKENS - 4])):
        (cut,) = await ask(planes, "/rerank", {**body, "truncation_direction": side})
        (whole,) = await ask(planes, "/rerank", {**body, "texts": [" ".join(kept)]})
        assert cut["score"] == pytest.approx(whole["score"], abs=1e-6)


async def predicted(planes, text, pair=None, **fields):
    """Return the labels and probabilities of Ingrain's own route."""
    body = {"text": text, "textPair": pair} if pair is not None else {"text": text}
    (best,) = (await native(planes, "/classify_text", name="classifier", **body, **fields))["results"]
    return best


@pytest.mark.parametrize("path", ["/predict", "/tei/classifier/predict", "/tei/classifier"])
async def test_labels_fall_by_score(planes, path):
    alone, pair = await predicted(planes, "red"), await predicted(planes, "red", "green")
    raw = await predicted(planes, "red", rawScores=True)
    for inputs, fields, wanted in (
        ("red", {}, alone),
        (["red"], {}, alone),
        (["red", "green"], {}, pair),
        ([["red"]], {}, [alone]),
        ([["red", "green"]], {}, [pair]),
        ([["red"], ["red", "green"], ["red"]], {}, [alone, pair, alone]),
        ("red", {"raw_scores": True}, raw),
    ):
        got = await ask(planes, path, {"inputs": inputs, **fields})
        flat = [one for row in got for one in row] if isinstance(got[0], list) else got
        expected = [one for row in wanted for one in row] if isinstance(wanted[0], list) else wanted
        assert [one["label"] for one in flat] == [one["label"] for one in expected]
        np.testing.assert_allclose([one["score"] for one in flat], [one["score"] for one in expected], atol=1e-6)
        assert isinstance(got[0], list) == isinstance(wanted[0], list)


async def test_the_root_classifies_where_the_request_says_so(planes):
    alone = await predicted(planes, "red")
    (got,) = await ask(planes, "/", {"inputs": "red", "parameters": {"top_k": 2}})
    assert [one["label"] for one in got] == [one["label"] for one in alone[:2]]
    (raw,) = await ask(planes, "/", {"inputs": "red", "parameters": {"function_to_apply": "none"}})
    (each,) = await ask(planes, "/", {"inputs": "red", "parameters": {"function_to_apply": "sigmoid"}})
    np.testing.assert_allclose([one["score"] for one in each], sigmoid([one["score"] for one in raw]), atol=1e-6)
    assert {one["label"] for one in raw} == set(LABELS)
    assert len(await ask(planes, "/", {"inputs": [["red", "green"], ["blue"]]})) == 2


async def test_tokens_have_the_places_of_their_characters(planes):
    first, second = await ask(planes, "/tokenize", {"inputs": ["red  green", LONG]})
    assert first == [
        {"id": 2, "text": "[CLS]", "special": True, "start": None, "stop": None},
        {"id": 4, "text": "red", "special": False, "start": 0, "stop": 3},
        {"id": 5, "text": "green", "special": False, "start": 5, "stop": 10},
        {"id": 3, "text": "[SEP]", "special": True, "start": None, "stop": None},
    ]
    assert len(second) == 62, "a text that is too long for the model has all its tokens"
    (bare,) = await ask(planes, "/tokenize", {"inputs": "red", "add_special_tokens": False})
    assert bare == first[1:2]
    (prompted,) = await ask(planes, "/tokenize", {"inputs": "red", "prompt_name": "query"})
    assert [(one["text"], one["start"]) for one in prompted[1:-1]] == [("w7", 0), ("red", 3)]
    many = await ask(planes, "/tei/sparse/tokenize", {"inputs": [LONG] * 40})
    assert many == [second] * 40


async def test_decoding_reverses_tokenizing(planes):
    assert await ask(planes, "/decode", {"ids": [4, 5]}) == ["red green"]
    assert await ask(planes, "/decode", {"ids": [[4], [6], []]}) == ["red", "blue", ""]
    assert await ask(planes, "/decode", {"ids": [2, 4], "skip_special_tokens": False}) == ["[CLS] red"]
    assert await ask(planes, "/tei/reranker/decode", {"ids": [[4] * 300] * 40}) == [" ".join(["red"] * 300)] * 40


async def test_info_describes_the_model(planes):
    info = (await planes.inference.get("/info")).json()
    assert (info["model_id"], info["model_dtype"], info["auto_truncate"]) == ("org/model", "float32", False)
    assert (info["max_input_length"], info["max_client_batch_size"]) == (MAX_TOKENS, 40)
    kinds = {name: (await planes.inference.get(f"/tei/{name}/info")).json()["model_type"] for name in ("sparse",)}
    assert kinds == {"sparse": {"embedding": {"pooling": "splade"}}}
    classifier = (await planes.inference.get("/tei/classifier/info")).json()["model_type"]["classifier"]
    assert classifier["id2label"] == {str(place): label for place, label in enumerate(LABELS)}
    assert "reranker" in (await planes.inference.get("/tei/reranker/info")).json()["model_type"]


async def test_health_is_that_of_the_model(planes):
    healthy = await planes.inference.get("/tei/org/model/health")
    assert (healthy.status_code, healthy.content) == (200, b"")
    assert (await planes.inference.get("/tei/absent/health")).status_code == 404
    assert (await planes.inference.get("/health")).status_code == 200


MISTAKES = [
    ("/embed", {"inputs": []}, 400, "Empty"),
    ("/embed_sparse", {"inputs": []}, 400, "Empty"),
    ("/rerank", {"query": "red", "texts": []}, 400, "Empty"),
    ("/predict", {"inputs": []}, 400, "Empty"),
    ("/similarity", {"inputs": {"source_sentence": "red", "sentences": []}}, 400, "Empty"),
    ("/tokenize", {"inputs": []}, 400, "Empty"),
    ("/decode", {"ids": []}, 400, "Empty"),
    ("/embed", {"inputs": LONG}, 413, "Validation"),
    ("/embed", {"inputs": LONG, "truncate": False}, 413, "Validation"),
    ("/rerank", {"query": "red", "texts": ["green", LONG]}, 413, "Validation"),
    ("/predict", {"inputs": [["red"], [LONG]]}, 413, "Validation"),
    ("/similarity", {"inputs": {"source_sentence": "red", "sentences": [LONG]}}, 413, "Validation"),
    ("/embed", {"inputs": ["red"] * 41}, 413, "Validation"),
    ("/predict", {"inputs": [["red"], ["red", "green"]] * 21}, 413, "Validation"),
    ("/embed", {"inputs": "r" * 401}, 413, "Validation"),
    ("/embed", {"inputs": "red", "prompt_name": "absent"}, 413, "Validation"),
    ("/embed", {"inputs": "red", "dimensions": WIDTH + 1}, 413, "Validation"),
    ("/embed", {"inputs": "red", "dimensions": 0}, 422, "Validation"),
    ("/embed", {"inputs": 3}, 422, "Validation"),
    ("/embed", {"inputs": ["red", [4]]}, 422, "Validation"),
    ("/embed", {"inputs": [[4, 99999]]}, 422, "Validation"),
    ("/embed", {"inputs": "red", "truncation_direction": "up"}, 422, "Validation"),
    ("/embed", {"inputs": "red", "normalize": "yes"}, 422, "Validation"),
    ("/predict", {"inputs": ["red", "green", "blue"]}, 422, "Validation"),
    ("/predict", {"inputs": [["red"], []]}, 422, "Validation"),
    ("/rerank", {"texts": ["red"]}, 422, "Validation"),
    ("/", {}, 422, "Validation"),
    ("/tei/org/model", {"inputs": [["red", "green"]]}, 422, "Validation"),
    ("/tei/reranker/embed", {"inputs": "red"}, 424, "Backend"),
    ("/tei/org/model/rerank", {"query": "red", "texts": ["green"]}, 424, "Backend"),
    ("/tei/org/model/predict", {"inputs": "red"}, 424, "Backend"),
    ("/tei/org/model/embed_sparse", {"inputs": "red"}, 424, "Backend"),
    ("/tei/classifier/rerank", {"query": "red", "texts": ["green"]}, 424, "Backend"),
    ("/embed", {"inputs": "poison"}, 424, "Backend"),
    ("/tei/absent/embed", {"inputs": "red"}, 404, "Validation"),
    ("/tei/absent", {"inputs": "red"}, 404, "Validation"),
]


@pytest.mark.parametrize(("path", "body", "status", "kind"), MISTAKES, ids=str)
async def test_mistakes_have_teis_statuses_and_kinds(planes, path, body, status, kind):
    answer = await planes.inference.post(path, json=body)
    assert (answer.status_code, answer.json().get("error_type")) == (status, kind), answer.text
    assert set(answer.json()) == {"error", "error_type"}
    assert answer.json()["error"]


async def test_errors_name_what_is_wrong(planes):
    long = await planes.inference.post("/embed", json={"inputs": ["red", LONG]})
    wanted = f"Input validation error: `inputs[1]` must have at most {MAX_TOKENS} tokens. Given: 62"
    assert long.json()["error"] == wanted
    sentence = await planes.inference.post(
        "/similarity", json={"inputs": {"source_sentence": "red", "sentences": ["green", LONG]}}
    )
    assert "inputs.sentences[1]" in sentence.json()["error"]
    pair = await planes.inference.post("/predict", json={"inputs": [["red"], ["red", LONG]]})
    assert "inputs[1]" in pair.json()["error"]


async def test_bodies_that_are_no_json_are_refused_in_teis_words(planes):
    for content in (b"{", b"[]", b"\xff"):
        answer = await planes.inference.post("/predict", content=content)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "Validation")
    answer = await planes.inference.delete("/tei/org/model")
    assert (answer.status_code, set(answer.json())) == (405, {"error", "error_type"})


async def test_native_requests_of_the_shared_paths_stay_native(planes):
    own = await native(planes, "/embed", name="org/model", text="red")
    assert "textEmbeddings" in own
    for path in ("/embed", "/rerank", "/embed_sparse"):
        answer = await planes.inference.post(path, json={})
        assert (answer.status_code, list(answer.json())) == (400, ["message", "error"])


async def test_what_no_loaded_model_does_is_a_failed_dependency(tmp_path):
    async with running_planes(tmp_path) as planes:
        for _ in range(2):
            answer = await planes.inference.post("/rerank", json={"query": "red", "texts": ["green"]})
            assert (answer.status_code, answer.json()["error_type"]) == (424, "Backend")
            await planes.load()
        assert (await planes.inference.get("/info")).status_code == 200
        await planes.load("org/second")
        answer = await planes.inference.post("/embed", json={"inputs": "red"})
        assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
        assert "ORG/MODEL" in answer.json()["error"].upper()


async def test_a_full_queue_is_an_overloaded_model(tmp_path):
    async with running_planes(tmp_path, Settings(max_requests=1)) as planes:
        await planes.load()
        planes.services.load.requests = 1
        answer = await planes.inference.post("/predict", json={"inputs": "red"})
        assert (answer.status_code, answer.json()["error_type"]) == (429, "Overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        planes.services.load.requests = 0


async def test_a_large_body_is_read_in_a_thread_and_answered_alike(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load()
        texts = [f"w{number % 90} red green blue" for number in range(9_000)]
        assert len(json.dumps(texts)) > 131_072
        for path in ("/embed", "/"):
            got = await ask(planes, path, {"inputs": texts})
            np.testing.assert_allclose(got[:90], await vectors(planes, texts[:90]), atol=1e-6)
