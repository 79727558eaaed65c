"""A model of BGE-M3's kind over HTTP, on a real graph: its outputs, alone and at once, as FlagEmbedding gives them."""

import asyncio
import base64
import json
from functools import partial

import numpy as np
import pytest

from client_api import in_thread
from ingrain import AsyncClient
from ingrain.cli.main import main
from ingrain.engine.embedded.engine import EmbeddedEngine
from ingrain.engine.onnxruntime import OnnxRuntimeEngine
from ingrain.repository.store import Repository
from m3_in_process import TEXTS, convert_m3
from made_once import made_once
from planes import StoredExport, make_registry, running_planes
from torch_process import torch_pool

pytestmark = pytest.mark.slow

CLOSE = 1e-4
PLACES = range(len(TEXTS))
ALL = ["dense", "sparse", "multiVector"]
SUBSETS = [["sparse"], ["multiVector"], ["dense"], ["dense", "sparse"], ["multiVector", "dense"], ALL[::-1]]


@pytest.fixture(scope="session")
def m3(tmp_path_factory):
    def make(folder):
        with torch_pool() as pool:
            pool.submit(convert_m3, folder, packs_tokens=True).result()

    return made_once(tmp_path_factory, "m3", make)


@pytest.fixture
def expected(m3):
    return np.load(m3 / "expected.npz")


@pytest.fixture
async def planes(m3, tmp_path):
    engine = OnnxRuntimeEngine(Repository(tmp_path).triton)
    async with running_planes(tmp_path, engine=engine, export=StoredExport(m3 / "output")) as planes:
        await planes.load("model")
        yield planes


async def ask(planes, route, headers=None, **fields):
    answer = await planes.inference.post(f"/{route}", json={"name": "model", **fields}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def check(answer, expected, places=PLACES):
    """Compare what an answer has of some texts with what FlagEmbedding gives."""
    if "embeddings" in answer:
        assert np.abs(np.array(answer["embeddings"]) - expected["dense"][list(places)]).max() < CLOSE
    for place, vector in zip(places, answer.get("sparseEmbeddings", ()), strict=False):
        check_sparse(vector, expected["sparse"][place])
    for place, vectors in zip(places, answer.get("multiVectorEmbeddings", ()), strict=False):
        assert np.shape(vectors) == expected[f"tokens {place}"].shape
        assert np.abs(np.array(vectors) - expected[f"tokens {place}"]).max() < CLOSE


def check_sparse(vector, weights):
    assert vector["indices"] == sorted(set(vector["indices"])) == np.flatnonzero(weights).tolist()
    assert np.allclose(vector["values"], weights[vector["indices"]], atol=CLOSE)


def fields_of(outputs):
    names = {"dense": "embeddings", "sparse": "sparseEmbeddings", "multiVector": "multiVectorEmbeddings"}
    return {names[output] for output in outputs}


async def test_each_route_gives_its_output(planes, expected):
    check({"embeddings": (await ask(planes, "embed_text", text=TEXTS))["embeddings"]}, expected)
    check({"sparseEmbeddings": (await ask(planes, "embed_sparse", text=TEXTS))["embeddings"]}, expected)
    vectors = (await ask(planes, "embed_multi_vector", text=TEXTS))["embeddings"]
    check({"multiVectorEmbeddings": vectors}, expected)


@pytest.mark.parametrize("outputs", SUBSETS)
async def test_one_request_gives_any_of_the_outputs(planes, expected, outputs):
    answer = await ask(planes, "embed_text", text=TEXTS, outputs=outputs)
    assert {name for name in answer if name.lower().endswith("embeddings")} == fields_of(outputs)
    assert ("vectorCounts" in answer) == ("multiVector" in outputs)
    check(answer, expected)


async def test_what_the_model_does_is_said_where_models_are_listed(planes):
    tasks = ["embed", "embed_sparse", "embed_multi_vector", "rerank", "embed_tokens"]
    answer = await planes.model.post("/load_model", json={"name": "model", "library": "sentence_transformers"})
    assert answer.json()["message"].endswith(f"is already loaded; its tasks are {', '.join(tasks)}.")
    for route in ("loaded_models", "repository_models"):
        assert (await planes.model.get(f"/{route}")).json()["models"][0]["tasks"] == tasks
    listed = (await planes.inference.get("/v1/models")).json()["data"][0]
    assert (listed["outputs"], listed["dimensions"]) == (ALL, 32)


async def test_several_outputs_are_computed_in_one_run(planes):
    before = (await planes.engine.statistics())[0].execution_count
    await ask(planes, "embed_text", text="a text of its own", outputs=ALL)
    assert (await planes.engine.statistics())[0].execution_count == before + 1


async def test_requests_for_different_outputs_share_batches(planes, expected):
    """Many at once, so that batches are mixed; each caller gets what it asked for."""
    wanted = [(place, outputs) for place in PLACES for outputs in (None, *SUBSETS)]
    answers = await asyncio.gather(
        *(
            ask(planes, "embed_text", {"Cache-Control": "no-store"}, text=[TEXTS[place], TEXTS[place - 1]])
            if outputs is None
            else ask(planes, "embed_text", text=[TEXTS[place], TEXTS[place - 1]], outputs=outputs)
            for place, outputs in wanted
        )
    )
    for (place, outputs), answer in zip(wanted, answers, strict=True):
        assert fields_of(outputs or ["dense"]) <= set(answer)
        check(answer, expected, (place, (place - 1) % len(TEXTS)))
    assert (await planes.engine.statistics())[0].execution_count < len(wanted)


async def test_a_request_of_many_texts_is_computed_in_several_batches(planes, expected):
    places = [place % len(TEXTS) for place in range(100)]
    answer = await ask(planes, "embed_text", text=[TEXTS[place] for place in places], outputs=ALL)
    check(answer, expected, places)


async def test_cached_outputs_are_the_computed_ones(planes):
    first = await ask(planes, "embed_text", text=TEXTS, outputs=["dense", "sparse"])
    runs = (await planes.engine.statistics())[0].execution_count
    again = await ask(planes, "embed_text", text=TEXTS[::-1], outputs=["sparse", "dense"])
    assert (await planes.engine.statistics())[0].execution_count == runs
    for name in ("embeddings", "sparseEmbeddings"):
        assert again[name][::-1] == first[name]


async def test_documents_are_ranked_by_the_vectors_of_tokens(planes, expected):
    answer = await ask(planes, "rerank", query=TEXTS[0], documents=TEXTS)
    scores = {one["index"]: one["score"] for one in answer["results"]}
    assert np.allclose([scores[place] for place in PLACES], expected["scores"][0], atol=CLOSE)


async def test_the_form_of_vectors_holds_for_all_outputs(planes, expected):
    coded = await ask(planes, "embed_text", text=TEXTS, outputs=ALL, encodingFormat="base64", tokenCounts=True)
    dense = [np.frombuffer(base64.b64decode(one), "<f4") for one in coded["embeddings"]]
    assert np.abs(np.stack(dense) - expected["dense"]).max() < CLOSE
    whole = np.frombuffer(base64.b64decode(coded["multiVectorEmbeddings"][0]), "<f4")
    assert np.abs(whole.reshape(coded["vectorCounts"][0], -1) - expected["tokens 0"]).max() < CLOSE
    assert coded["truncated"] == [False, False, False, True, False, False, False]
    assert [count - 1 for count in coded["tokenCounts"]] == coded["vectorCounts"]
    cut = await ask(planes, "embed_text", text="stone", outputs=ALL, nDims=5, outputDtype="int8")
    assert {len(cut["embeddings"][0]), *map(len, cut["multiVectorEmbeddings"][0])} == {5}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"outputs": []}, "outputs"),
        ({"outputs": ["colbert"]}, "outputs[0]"),
        ({"outputs": "dense"}, "outputs"),
        ({"outputs": ALL, "outputDtype": "uint8"}, "outputDtype"),
        ({"outputs": ALL, "nDims": 21}, "nDims"),
        ({"outputs": ALL, "truncate": False, "text": TEXTS}, "text[3]"),
    ],
)
async def test_what_cannot_be_given_is_refused(planes, fields, param):
    answer = await planes.inference.post("/embed_text", json={"name": "model", "text": "stone", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_the_client_returns_each_output_as_arrays_and_as_lists(planes, expected):
    async with AsyncClient(str(planes.inference.base_url), batch_size=2) as client:
        arrays = await client.embed_text("model", TEXTS, outputs=ALL, return_numpy=True)
        lists = await client.embed_text("model", TEXTS, outputs=["sparse"], token_counts=True)
        plain = await client.embed_text("model", TEXTS, return_numpy=True)
        several = await client.model("model").embed_multi_vector(TEXTS[0], return_numpy=True)
        parts = [part async for part in client.stream_text("model", TEXTS, outputs=["multiVector"])]
    assert np.abs(arrays.embeddings - expected["dense"]).max() < CLOSE
    assert [one.shape for one in arrays.multi_vector_embeddings] == [
        expected[f"tokens {place}"].shape for place in PLACES
    ]
    for place in PLACES:
        weights = expected["sparse"][place]
        np.testing.assert_array_equal(arrays.sparse_embeddings[place].indices, np.flatnonzero(weights))
        check_sparse(dict(lists.sparse_embeddings[place]), weights)
    assert np.abs(several.embeddings[0] - expected["tokens 0"]).max() < CLOSE
    assert (len(lists.embeddings), lists.multi_vector_embeddings) == (0, None)
    assert (len(lists.token_counts), plain.sparse_embeddings) == (len(TEXTS), None)
    assert np.abs(plain.embeddings - expected["dense"]).max() < CLOSE
    assert sum(len(part.multi_vector_embeddings) for part in parts) == len(TEXTS)


async def test_the_command_writes_a_line_with_the_outputs_of_a_text(planes, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("INGRAIN_INFERENCE_URL", str(planes.inference.base_url))
    output = tmp_path / "vectors.jsonl"
    command = ["embed", "--model=model", "--outputs=sparse,dense", "--text", TEXTS[0], "--text", TEXTS[2]]
    assert await in_thread(lambda: main([*command, "-o", str(output), "--quiet"])) == 0
    for place, line in zip((0, 2), map(json.loads, output.read_text().splitlines()), strict=True):
        assert line["text"] == TEXTS[place]
        check_sparse(line["sparseEmbedding"], expected["sparse"][place])
        assert np.abs(np.array(line["embedding"]) - expected["dense"][place]).max() < CLOSE
    for wrong in (["--outputs=dense,colbert"], ["--outputs=dense", "--sparse"], ["--outputs=dense", "-o", "v.npy"]):
        assert await in_thread(lambda wrong=wrong: exit_code([*command[:2], "--text=x", *wrong])) != 0


def exit_code(command):
    try:
        return main(command)
    except SystemExit as ended:
        return ended.code


async def test_the_embedded_triton_gives_the_same_outputs(m3, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("planes.make_registry", partial(make_registry, backend="python"))
    engine = EmbeddedEngine(Repository(tmp_path).triton, instances=2)
    async with running_planes(tmp_path, engine=engine, export=StoredExport(m3 / "output")) as planes:
        await planes.load("model")
        answers = await asyncio.gather(
            *(ask(planes, "embed_text", text=TEXTS, outputs=outputs) for outputs in [*SUBSETS, ["dense"]])
        )
    for answer in answers:
        check(answer, expected)
