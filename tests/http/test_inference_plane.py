"""The inference plane's contract: right vectors, in order, in the shapes of the wire."""

import asyncio
import io
import os
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ingrain.settings import Settings
from ingrain.testing.fake_engine import fake_vector
from planes import MAX_TOKENS, WIDTH, WORDS, ids_of, running_planes


def unit(vector):
    return vector / np.linalg.norm(vector)


def truth(text):
    return fake_vector(ids_of(text), WIDTH)


async def test_health_tells_that_the_process_lives(planes):
    answer = await planes.inference.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"message": "The inference server is running."})


async def test_a_list_gives_a_vector_each_in_order(planes):
    texts = ["red", "green blue", "", "w1 w2 w3"]
    answer = (await planes.embed(texts)).json()
    assert set(answer) == {"embeddings", "processingTimeMs"}
    np.testing.assert_allclose(answer["embeddings"], [unit(truth(text)) for text in texts], atol=1e-6)
    assert answer["processingTimeMs"] > 0


async def test_a_string_is_a_list_of_one(planes):
    answer = (await planes.embed("red")).json()
    np.testing.assert_allclose(answer["embeddings"], [unit(truth("red"))], atol=1e-6)


async def test_normalize_false_gives_the_graphs_own_vector(planes):
    answer = (await planes.embed("red", normalize=False)).json()
    np.testing.assert_allclose(answer["embeddings"], [truth("red")], atol=1e-6)


async def test_dimensions_are_cut_first_and_normalized_then(planes):
    answer = (await planes.embed("red", nDims=3)).json()
    np.testing.assert_allclose(answer["embeddings"], [unit(truth("red")[:3])], atol=1e-6)


@pytest.mark.parametrize("fields", [{"nDims": 3}, {"n_dims": 3}, {"nDims": 3, "normalize": None, "pretrained": None}])
async def test_camel_and_snake_case_are_taken_and_null_is_not_given(planes, fields):
    np.testing.assert_allclose(
        (await planes.embed("red", **fields)).json()["embeddings"], [unit(truth("red")[:3])], atol=1e-6
    )


async def test_long_text_is_cut_with_the_end_token_kept(planes):
    text = " ".join(f"w{n % 100}" for n in range(100))
    assert len(ids_of(text)) == MAX_TOKENS
    np.testing.assert_allclose((await planes.embed(text)).json()["embeddings"], [unit(truth(text))], atol=1e-6)


async def test_embed_answers_by_modality(planes):
    answer = await planes.inference.post("/embed", json={"name": "org/model", "text": ["red"]})
    body = answer.json()
    assert set(body) == {"textEmbeddings", "imageEmbeddings", "processingTimeMs"}
    assert body["imageEmbeddings"] is None
    assert len(body["textEmbeddings"]) == 1


@pytest.mark.parametrize(("old", "new"), [("/infer_text", "/embed_text"), ("/infer", "/embed")])
async def test_first_generation_routes_answer_as_todays(planes, old, new):
    body = {"name": "org/model", "text": ["red", "blue"], "pretrained": None}
    answers = [(await planes.inference.post(path, json=body)).json() for path in (old, new)]
    for answer in answers:
        del answer["processingTimeMs"]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("route", ["/embed_text", "/infer_text"])
async def test_vectors_come_as_raw_numbers_or_as_an_npy_file_to_whoever_asks(planes, route):
    body = {"name": "org/model", "text": ["red", "green", "blue"]}
    as_json = (await planes.inference.post(route, json=body)).json()["embeddings"]
    for media in ("application/octet-stream", "application/x-npy"):
        answer = await planes.inference.post(route, json=body, headers={"accept": media})
        assert answer.headers["content-type"] == media
        assert answer.headers["x-embeddings-shape"] == f"3,{len(as_json[0])}"
        assert float(answer.headers["x-processing-time-ms"]) > 0
        if media == "application/x-npy":
            rows = np.load(io.BytesIO(answer.content))
        else:
            rows = np.frombuffer(answer.content, "<f4").reshape(3, -1)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, np.array(as_json, np.float32))


def write_word_pieces(path: Path) -> None:
    """Write a tokenizer with the same ids as that of the other tests, but one whose words are looked up."""
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.save(str(path))


@pytest.mark.parametrize("count", [40, 700], ids=["in the event loop", "in a thread"])
async def test_many_texts_have_the_vectors_and_counts_of_each_in_every_form(tmp_path, monkeypatch, count):
    """Of several lengths, empty and repeated ones among them, and more than a batch holds."""
    monkeypatch.setattr("planes.write_tokenizer", write_word_pieces)
    texts = [" ".join(f"w{(7 * n + place) % 100}" for place in range(n % 9)) for n in range(count)]
    async with running_planes(tmp_path) as planes:
        await planes.load()
        expected = np.array([unit(truth(text)) for text in texts])
        lone = np.array([(await planes.embed(text)).json()["embeddings"][0] for text in texts[:30]], np.float32)
        answer = (await planes.embed(texts, tokenCounts=True)).json()
        np.testing.assert_allclose(answer["embeddings"], expected, atol=1e-6)
        np.testing.assert_array_equal(np.array(answer["embeddings"], np.float32)[:30], lone)
        assert answer["tokenCounts"] == [len(ids_of(text)) for text in texts]
        assert answer["truncated"] == [False] * count
        body = {"name": "org/model", "text": texts}
        raw = await planes.inference.post("/embed_text", json=body, headers={"accept": "application/octet-stream"})
        assert raw.headers["x-embeddings-shape"] == f"{count},{WIDTH}"
        np.testing.assert_array_equal(
            np.frombuffer(raw.content, "<f4").reshape(count, WIDTH), np.array(answer["embeddings"], np.float32)
        )
        texts[17] = "red " * 100
        answer = (await planes.embed(texts, tokenCounts=True)).json()
        assert (answer["tokenCounts"][17], answer["truncated"].index(True)) == (MAX_TOKENS, 17)
        np.testing.assert_allclose(answer["embeddings"][16:19], [unit(truth(t)) for t in texts[16:19]], atol=1e-6)
        refused = await planes.embed(texts, truncate=False)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "text[17]")


async def test_errors_are_json_whatever_is_accepted(planes):
    answer = await planes.inference.post(
        "/embed_text", json={"name": "org/other", "text": "red"}, headers={"accept": "application/x-npy"}
    )
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_loaded"


async def test_concurrent_requests_share_engine_calls(planes):
    """A hundred requests of one text each need far fewer calls, and each gets its own vector."""
    planes.engine.latency_s = 0.02
    texts = [f"w{n}" for n in range(100)]
    before = len(planes.engine.batches)
    answers = await asyncio.gather(*(planes.embed(text) for text in texts))
    for text, answer in zip(texts, answers, strict=True):
        np.testing.assert_allclose(answer.json()["embeddings"], [unit(truth(text))], atol=1e-6)
    assert len(planes.engine.batches) - before < 20


async def test_the_same_text_in_one_batch_is_computed_once(planes):
    planes.inference.headers["cache-control"] = "no-store"
    texts = ["red", "green", "red", "red", "blue", "green"]
    alone = {text: (await planes.embed(text)).json()["embeddings"][0] for text in set(texts)}
    before = len(planes.engine.batches)
    together = (await planes.embed(texts)).json()["embeddings"]
    assert together == [alone[text] for text in texts]
    assert [shape[0] for _, shape in planes.engine.batches[before:]] == [3]


async def test_metrics_are_the_engines_under_the_users_names(planes):
    await planes.embed(["red", "blue"])
    (stats,) = (await planes.inference.get("/metrics")).json()["modelStats"]
    assert stats["name"] == "org/model"
    assert stats["inferenceCount"] == "2"
    assert stats["inferenceStats"]["success"]["count"].isdecimal()
    assert set(stats) == {
        *("name", "version", "lastInference", "inferenceCount", "executionCount", "inferenceStats", "batchStats")
    }
    assert set(stats["batchStats"][0]) == {"batchSize", "computeInput", "computeInfer", "computeOutput"}


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("*/*", False),
        ("application/json", False),
        ("text/plain", True),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", True),
        ("text/plain;q=0.1, application/json", False),
    ],
)
async def test_prometheus_gets_its_format_only_where_it_is_preferred(planes, accept, text):
    await planes.embed("red")
    answer = await planes.inference.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    if text:
        assert 'ingrain_engine_inferences_total{model="org/model"}' in answer.text
        assert 'ingrain_requests_total{route="/embed_text",status="200"}' in answer.text
        assert answer.text.count("# EOF") <= 1
    else:
        assert "modelStats" in answer.json()


async def test_ready_says_why_it_is_not(planes):
    answer = (await planes.inference.get("/ready")).json()
    assert (answer["ready"], answer["reasons"]) == (True, [])
    planes.engine.die()
    answer = await planes.inference.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["reasons"]


async def test_more_requests_than_allowed_are_refused_at_once(tmp_path):
    async with running_planes(tmp_path, Settings(max_requests=2)) as planes:
        await planes.load()
        planes.engine.latency_s = 0.2
        answers = await asyncio.gather(*(planes.embed("red") for _ in range(6)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 4
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


async def test_a_full_queue_is_429_with_retry_after(tmp_path):
    async with running_planes(tmp_path, Settings(max_queue_tokens=8)) as planes:
        await planes.load()
        planes.engine.latency_s = 0.1
        answers = await asyncio.gather(*(planes.embed(["red"] * 64) for _ in range(8)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert {answer.status_code for answer in answers} == {200, 429}


async def test_a_request_past_its_deadline_is_504(tmp_path):
    async with running_planes(tmp_path, Settings(request_timeout_s=0.1)) as planes:
        await planes.load()
        planes.engine.latency_s = 1.0
        answer = await planes.embed("red")
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "deadline_exceeded"


async def test_a_list_of_models_that_cannot_be_read_holds_a_request_no_longer_than_its_deadline(tmp_path):
    async with running_planes(tmp_path, Settings(request_timeout_s=0.3)) as planes:
        await planes.load()
        path = tmp_path / "desired.json"
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)  # whoever reads it waits, as for a disk that hangs
        pipe = os.open(path, os.O_RDWR)
        try:
            answers = await asyncio.gather(*(planes.embed("a", name="org/unknown") for _ in range(3)))
            served = await planes.embed("a")
        finally:
            (tmp_path / "mended.json").write_bytes(content)
            (tmp_path / "mended.json").replace(path)
            os.write(pipe, content)
            os.close(pipe)
        after = await planes.embed("a", name="org/unknown")
    assert [answer.status_code for answer in answers] == [504] * 3
    assert answers[0].json()["error"]["code"] == "deadline_exceeded"
    assert served.status_code == 200
    assert after.status_code == 404


async def test_a_route_of_the_other_plane_is_named_as_such(planes):
    body = {"name": "org/other", "library": "sentence_transformers"}
    lost = await planes.inference.post("/load_model", json=body)
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "route_not_found")
    assert lost.json()["message"].startswith("This is a route of the model plane, port 8687.")
    assert (await planes.model.post("/embed_text", json={})).json()["message"].startswith("This is a route of the inf")
