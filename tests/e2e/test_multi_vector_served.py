"""Vectors of tokens over HTTP, on real graphs: those of the source library, whatever a text is batched with."""

import asyncio
import base64
import io
import json
from functools import partial

import numpy as np
import pytest

from client_api import in_thread
from ingrain import AsyncClient
from ingrain.cli.main import main
from ingrain.engine.embedded.engine import EmbeddedEngine
from ingrain.engine.onnxruntime import OnnxRuntimeEngine
from ingrain.pipeline.task import ModelName
from ingrain.repository.store import Repository
from ingrain.settings import Settings
from ingrain.tasks.late_interaction import score_by_late_interaction
from ingrain.tasks.texts import Texts
from made_once import made_once
from multi_vector_in_process import TEXTS, convert_multi_vector, convert_tokens
from planes import StoredExport, make_registry, running_planes
from torch_process import torch_pool

pytestmark = pytest.mark.slow

COLBERT = "colbertv2.0 (ColBERT's own layout, BERT)"
CLOSE = 1e-4
PLACES = range(len(TEXTS))


def converted(temporary, name, convert, *arguments):
    """Return the folder of a model that was converted once for all processes of the test run."""

    def make(folder):
        with torch_pool() as pool:
            pool.submit(convert, *arguments, folder).result()

    return made_once(temporary, name, make)


@pytest.fixture(scope="session")
def colbert(tmp_path_factory):
    return converted(tmp_path_factory, "multi-vector", convert_multi_vector, COLBERT)


@pytest.fixture(scope="session")
def token_model(tmp_path_factory):
    return converted(tmp_path_factory, "tokens", convert_tokens)


def serving(folder, tmp_path, **settings):
    engine = OnnxRuntimeEngine(Repository(tmp_path).triton)
    return running_planes(tmp_path, Settings(**settings), engine=engine, export=StoredExport(folder / "output"))


@pytest.fixture
async def planes(colbert, tmp_path):
    async with serving(colbert, tmp_path, max_answer_bytes=100_000) as planes:
        await planes.load("model")
        yield planes


@pytest.fixture
def expected(colbert):
    """Return the source's vectors by side."""
    stored = np.load(colbert / "expected.npz")
    return {side: [stored[f"{side} {place}"] for place in PLACES] for side in ("query", "document")}


async def embed(planes, text, route="embed_multi_vector", headers=None, **fields):
    return await planes.inference.post(f"/{route}", json={"name": "model", "text": text, **fields}, headers=headers)


def matrices(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    found = [np.array(one, np.float32) for one in body["embeddings"]]
    assert body["vectorCounts"] == [len(one) for one in found]
    return found


def check_close(found, expected):
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert max(np.abs(ours - theirs).max() for ours, theirs in zip(found, expected, strict=True)) < CLOSE


@pytest.mark.parametrize("side", ["query", "document"])
async def test_the_vectors_of_each_side_are_those_of_the_source(planes, expected, side):
    check_close(matrices(await embed(planes, TEXTS, inputType=side)), expected[side])


async def test_texts_are_documents_unless_they_are_called_queries(planes, expected):
    check_close(matrices(await embed(planes, TEXTS)), expected["document"])


async def test_queries_and_documents_of_any_length_may_share_batches(planes, expected):
    sides = ["query", "document"] * len(TEXTS)
    places = [place % len(TEXTS) for place in range(len(sides))]
    answers = await asyncio.gather(
        *(embed(planes, TEXTS[place], inputType=side) for place, side in zip(places, sides, strict=True))
    )
    wanted = [expected[side][place] for place, side in zip(places, sides, strict=True)]
    check_close([matrices(answer)[0] for answer in answers], wanted)


async def test_the_embedded_triton_gives_the_same_vectors(colbert, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("planes.make_registry", partial(make_registry, backend="python"))
    engine = EmbeddedEngine(Repository(tmp_path).triton, instances=2)
    export = StoredExport(colbert / "output")
    async with running_planes(tmp_path, engine=engine, export=export) as planes:
        await planes.load("model")
        queries, documents = await asyncio.gather(*(embed(planes, TEXTS, inputType=side) for side in expected))
    check_close(matrices(queries), expected["query"])
    check_close(matrices(documents), expected["document"])


async def test_a_query_is_expanded_and_punctuation_of_a_document_has_no_vector(planes):
    query = (await embed(planes, "old houses: stone.", inputType="query", tokenCounts=True)).json()
    document = (await embed(planes, "old houses: stone.", tokenCounts=True)).json()
    assert query["vectorCounts"] == [16]
    assert query["tokenCounts"] == document["tokenCounts"]
    assert document["vectorCounts"][0] < document["tokenCounts"][0]


@pytest.mark.parametrize(("dtype", "kind"), [("float", "<f4"), ("float16", "<f2"), ("int8", "i1"), ("ubinary", "u1")])
async def test_every_form_holds_the_same_vectors(planes, expected, dtype, kind):
    whole = np.concatenate(expected["document"])
    forms = {
        "float": whole,
        "float16": whole.astype(np.float16),
        "int8": np.rint(127 * whole).astype(np.int8),
        "ubinary": np.packbits(whole > 0, axis=1),
    }
    close = {"float": CLOSE, "float16": 1e-3, "int8": 1, "ubinary": 0}[dtype]
    rows = []
    listed = await embed(planes, TEXTS, outputDtype=dtype)
    rows.append(np.concatenate([np.array(one, kind) for one in listed.json()["embeddings"]]))
    coded = await embed(planes, TEXTS, outputDtype=dtype, encodingFormat="base64")
    joined = b"".join(map(base64.b64decode, coded.json()["embeddings"]))
    rows.append(np.frombuffer(joined, kind).reshape(sum(coded.json()["vectorCounts"]), -1))
    raw = await embed(planes, TEXTS, outputDtype=dtype, headers={"Accept": "application/octet-stream"})
    shape = tuple(map(int, raw.headers["x-embeddings-shape"].split(",")))
    assert [int(count) for count in raw.headers["x-vector-counts"].split(",")] == coded.json()["vectorCounts"]
    rows.append(np.frombuffer(raw.content, kind).reshape(shape))
    npy = await embed(planes, TEXTS, outputDtype=dtype, headers={"Accept": "application/x-npy"})
    rows.append(np.load(io.BytesIO(npy.content)))
    for found in rows:
        assert found.dtype == np.dtype(kind)
        assert np.abs(found.astype(np.float32) - forms[dtype].astype(np.float32)).max() <= close


async def test_cut_vectors_have_unit_length(planes, expected):
    cut = matrices(await embed(planes, TEXTS, nDims=5))
    wanted = [one[:, :5] / np.linalg.norm(one[:, :5], axis=1, keepdims=True) for one in expected["document"]]
    check_close(cut, wanted)


async def test_truncation_is_told_or_refused(planes):
    answer = await embed(planes, TEXTS, tokenCounts=True)
    assert answer.json()["truncated"] == [False, False, False, True, False, False]
    assert answer.headers["x-truncated-texts"] == "1"
    refused = await embed(planes, TEXTS, truncate=False)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "text[3]")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"nDims": 13}, 400, "nDims"),
        ({"outputDtype": "int8", "normalize": False}, 400, "normalize"),
        ({"outputDtype": "uint8"}, 400, "outputDtype"),
        ({"inputType": "passage"}, 400, "inputType"),
        ({"promptName": "unknown"}, 400, "promptName"),
        ({"text": ["stone"] * 1000}, 413, "text"),
        ({"text": []}, 400, "text"),
    ],
)
async def test_what_cannot_be_answered_is_refused(planes, fields, status, param):
    answer = await embed(planes, **{"text": "stone", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_raw_numbers_are_limited_to_the_texts_whose_counts_fit_a_header(planes):
    answer = await embed(planes, ["x"] * 513, headers={"Accept": "application/octet-stream"})
    assert (answer.status_code, answer.json()["error"]["limit"]) == (400, 512)


async def test_other_routes_refuse_a_multi_vector_model(planes):
    answer = await embed(planes, "stone", route="embed_text")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_modality")


@pytest.mark.parametrize("most", [2, 256])
async def test_documents_are_scored_as_the_source_scores_them(planes, colbert, monkeypatch, most):
    """In parts of any size: the vectors of many documents are not held at the same time."""
    monkeypatch.setattr("ingrain.tasks.late_interaction._MOST_DOCUMENTS", most)
    scores = np.load(colbert / "expected.npz")["scores"]
    documents = Texts(texts=TEXTS, param="documents")
    for place, text in enumerate(TEXTS):
        query = Texts(texts=[text], param="query", is_list=False)
        found, _ = await score_by_late_interaction(planes.services.pipeline, ModelName(name="model"), query, documents)
        np.testing.assert_allclose(found, scores[place], rtol=1e-4)


async def test_rerank_orders_documents_as_the_source_scores_them(planes, colbert):
    scores = np.load(colbert / "expected.npz")["scores"]
    for place, query in enumerate(TEXTS):
        body = {"name": "model", "query": query, "documents": TEXTS}
        results = (await planes.inference.post("/rerank", json=body)).json()["results"]
        assert [result["index"] for result in results] == np.argsort(-scores[place], kind="stable").tolist()
        np.testing.assert_allclose([result["score"] for result in results], np.sort(scores[place])[::-1], rtol=1e-4)


async def test_rerank_refuses_a_document_that_is_too_long_if_told_so(planes):
    body = {"name": "model", "query": "stone", "documents": TEXTS, "truncate": False}
    answer = await planes.inference.post("/rerank", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "documents[3]")


async def test_the_client_returns_arrays_and_lists(planes, expected):
    url = str(planes.inference.base_url)
    async with AsyncClient(url, batch_size=2) as client:
        arrays = await client.embed_multi_vector("model", TEXTS, input_type="query", return_numpy=True)
        lists = await client.embed_multi_vector("model", TEXTS, input_type="query", token_counts=True)
        half = await client.embed_multi_vector("model", TEXTS[0], output_dtype="float16", return_numpy=True)
        tokens = await client.embed_tokens("model", ["old stone."], return_tokens=True)
    check_close(arrays.embeddings, expected["query"])
    check_close(lists.numpy(), expected["query"])
    assert lists.truncated == [False, False, True, True, False, True]
    assert half.embeddings[0].dtype == np.float16
    assert len(tokens.tokens[0]) == len(tokens.embeddings[0])


async def test_the_command_writes_a_line_with_all_vectors_of_a_text(planes, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("INGRAIN_INFERENCE_URL", str(planes.inference.base_url))
    texts, output = tmp_path / "texts.txt", tmp_path / "vectors.jsonl"
    texts.write_text("\n".join(text for text in TEXTS if text))
    command = ["embed", "--model=model", "--multi-vector", str(texts), "-o", str(output), "--quiet"]
    assert await in_thread(lambda: main(command)) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["text"] for line in lines] == [text for text in TEXTS if text]
    wanted = [one for text, one in zip(TEXTS, expected["document"], strict=True) if text]
    check_close([np.array(line["embedding"]) for line in lines], wanted)


async def test_tokens_of_a_multi_vector_model_are_all_its_own(planes):
    body = (await embed(planes, "old stone.", route="embed_tokens", inputType="query", returnTokens=True)).json()
    assert body["tokens"][0][:2] == ["[CLS]", "[unused0]"]
    assert body["tokens"][0][-2:] == [".", "[SEP]"]
    assert body["vectorCounts"] == [len(body["tokens"][0])]


async def test_tokens_of_an_embedding_model_are_those_before_pooling(token_model, tmp_path):
    stored = np.load(token_model / "expected.npz")
    async with serving(token_model, tmp_path) as planes:
        await planes.load("model")
        check_close(
            matrices(await embed(planes, TEXTS, route="embed_tokens")),
            [stored[f"document {place}"] for place in PLACES],
        )
        alone = [matrices(await embed(planes, text, route="embed_tokens"))[0] for text in TEXTS]
        check_close(alone, [stored[f"document {place}"] for place in PLACES])
        for route in ("embed_multi_vector", "embed_text"):
            answer = await embed(planes, "stone", route=route)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_modality")
