"""Sparse encoders over HTTP, on a real graph: the entries of the source library, whatever a text is batched with."""

import asyncio

import numpy as np
import pytest

from ingrain.engine.onnxruntime import OnnxRuntimeEngine
from ingrain.repository.store import Repository
from made_once import made_once
from planes import StoredExport, running_planes
from sparse_in_process import TEXTS, convert_sparse
from torch_process import torch_pool

pytestmark = pytest.mark.slow

INFERENCE_FREE = "Inference-free queries by IDF, documents by log1p_relu"
# Of a text's largest weight; the source's own weights are float32, too.
CLOSE = 1e-4


def converted(temporary, name):
    """Return the folder of a sparse encoder that was converted once for all processes of the test run."""

    def make(folder):
        with torch_pool() as pool:
            pool.submit(convert_sparse, name, folder).result()

    return made_once(temporary, f"sparse, {name}", make)


@pytest.fixture(scope="session")
def inference_free(tmp_path_factory):
    return converted(tmp_path_factory, INFERENCE_FREE)


@pytest.fixture
def expected(inference_free):
    return np.load(inference_free / "expected.npz")


@pytest.fixture
async def planes(inference_free, tmp_path):
    engine = OnnxRuntimeEngine(Repository(tmp_path).triton)
    export = StoredExport(inference_free / "output")
    async with running_planes(tmp_path, engine=engine, export=export) as planes:
        await planes.load("model")
        yield planes


async def embed(planes, text, **fields):
    return await planes.inference.post("/embed_sparse", json={"name": "model", "text": text, **fields})


def rows_of(answer, width):
    """Return the vectors of an answer as whole rows; indices must ascend."""
    assert answer.status_code == 200, answer.text
    vectors = answer.json()["embeddings"]
    rows = np.zeros((len(vectors), width), np.float32)
    for row, vector in zip(rows, vectors, strict=True):
        assert vector["indices"] == sorted(set(vector["indices"]))
        assert 0 not in vector["values"]
        row[vector["indices"]] = vector["values"]
    return rows


def check_close(rows, expected):
    largest = np.abs(expected).max(axis=1, keepdims=True)
    assert (np.abs(rows - expected) <= CLOSE * np.maximum(largest, 1e-9)).all()
    assert ((rows != 0) == (expected != 0))[np.abs(expected - rows) > CLOSE * largest].all()


@pytest.mark.parametrize(("input_type", "kind"), [("query", "query"), ("document", "document"), (None, "none")])
async def test_sparse_vectors_of_each_side_are_those_of_the_source(planes, expected, input_type, kind):
    fields = {} if input_type is None else {"inputType": input_type}
    wanted = expected[kind]
    check_close(rows_of(await embed(planes, TEXTS, **fields), wanted.shape[1]), wanted)


async def test_a_sparse_vector_does_not_depend_on_its_batch(planes, expected):
    width = expected["document"].shape[1]
    alone = [rows_of(await embed(planes, text, inputType="document"), width)[0] for text in TEXTS]
    headers = {"Cache-Control": "no-store"}
    body = {"name": "model", "inputType": "document"}
    together = await asyncio.gather(
        *(
            planes.inference.post("/embed_sparse", json={**body, "text": [text, TEXTS[place % 3]]}, headers=headers)
            for place, text in enumerate(TEXTS * 4)
        )
    )
    for place, answer in enumerate(together):
        np.testing.assert_allclose(rows_of(answer, width)[0], alone[place % len(TEXTS)], atol=1e-5)


async def test_a_cached_sparse_vector_is_the_computed_one(planes):
    first = (await embed(planes, TEXTS, inputType="document")).json()["embeddings"]
    again = (await embed(planes, TEXTS[::-1], inputType="document")).json()["embeddings"]
    assert again[::-1] == first


async def test_entries_are_chosen_by_number_and_by_weight(planes, expected):
    row = expected["document"][0]
    few = (await embed(planes, TEXTS[0], inputType="document", topK=3)).json()["embeddings"][0]
    assert few["indices"] == sorted(np.argsort(-row)[:3].tolist())
    least = float(np.median(row[row > 0]))
    heavy = (await embed(planes, TEXTS[0], inputType="document", minWeight=least)).json()["embeddings"][0]
    assert 0 < len(heavy["indices"]) < (row > 0).sum()
    assert min(heavy["values"]) >= least


async def test_tokens_counts_and_truncation_are_told_on_request(planes):
    answer = await embed(planes, ["stone", TEXTS[3]], inputType="query", tokens=True, tokenCounts=True, prompt="")
    body = answer.json()
    assert set(body["embeddings"][0]["tokens"]) == {"s", "##tone"}
    assert len(body["embeddings"][0]["tokens"]) == len(body["embeddings"][0]["indices"])
    assert body["truncated"] == [False, True]
    assert answer.headers["x-truncated-texts"] == "1"
    assert "tokens" not in (await embed(planes, "stone")).json()["embeddings"][0]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"topK": 0}, "topK"),
        ({"minWeight": -1}, "minWeight"),
        ({"inputType": "passage"}, "inputType"),
        ({"promptName": "none"}, "promptName"),
        ({"truncate": False, "text": TEXTS[3]}, "text[0]"),
        ({"nDims": 3}, "nDims"),
    ],
)
async def test_a_wrong_field_of_a_sparse_request_is_named(planes, fields, param):
    answer = await embed(planes, **{"text": "river", **fields})
    assert answer.status_code == 400
    assert param.removesuffix("[0]") in answer.json()["error"]["param"] + answer.json()["message"]


async def test_the_routes_of_other_tasks_refuse_a_sparse_encoder(planes):
    for path, body in (
        ("/embed_text", {"name": "model", "text": "river"}),
        ("/v1/embeddings", {"model": "model", "input": "river"}),
    ):
        answer = await planes.inference.post(path, json=body)
        assert answer.status_code == 400
        assert "embed_sparse" in answer.json()["error"]["message"]
