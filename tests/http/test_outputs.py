"""`outputs` of /embed_text for models with one output: what they have is given, what they lack is named."""

import numpy as np
import pytest

from neighbours import DOCUMENTS, QUERY, ask, running_models
from planes import running_planes

DENSE, SPARSE = "org/model", "org/sparse"


@pytest.fixture
async def planes(tmp_path):
    async with running_planes(tmp_path) as planes:
        await planes.load(DENSE)
        body = {"name": SPARSE, "library": "sentence_transformers", "task": "embed_sparse"}
        assert (await planes.model.post("/load_model", json=body)).status_code == 200
        yield planes


async def test_the_only_output_may_be_named(planes):
    plain = (await planes.embed(["red", "green blue"])).json()["embeddings"]
    named = await planes.embed(["red", "green blue"], outputs=["dense", "dense"])
    assert named.json()["embeddings"] == plain
    raw = await planes.inference.post(
        "/embed_text",
        json={"name": DENSE, "text": ["red", "green blue"], "outputs": ["dense"]},
        headers={"Accept": "application/octet-stream"},
    )
    np.testing.assert_allclose(np.frombuffer(raw.content, "<f4").reshape(2, -1), plain, atol=1e-6)


async def test_a_sparse_encoder_gives_its_vectors_as_an_output_too(planes):
    own = (await planes.inference.post("/embed_sparse", json={"name": SPARSE, "text": "red red green"})).json()
    named = (await planes.embed("red red green", name=SPARSE, outputs=["sparse"], tokenCounts=True)).json()
    assert named["sparseEmbeddings"] == own["embeddings"]
    assert named["tokenCounts"] == [5]
    assert "embeddings" not in named


@pytest.mark.parametrize(
    ("name", "outputs", "does"),
    [
        (DENSE, ["sparse"], "embeds texts (POST /embed_text)"),
        (DENSE, ["dense", "multiVector"], "embeds texts (POST /embed_text)"),
        (SPARSE, ["dense", "sparse"], "makes sparse vectors of texts (POST /embed_sparse)"),
    ],
)
async def test_an_output_that_the_model_lacks_is_refused_with_what_it_does(planes, name, outputs, does):
    answer = await planes.embed("red", name=name, outputs=outputs)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_modality")
    assert does in answer.json()["error"]["message"]


@pytest.mark.parametrize(("field", "value"), [("nDims", 2), ("outputDtype", "binary")])
async def test_a_form_that_sparse_vectors_lack_is_refused(planes, field, value):
    """It would change any other vector, so it is not ignored."""
    answer = await planes.embed("red", name=SPARSE, outputs=["sparse"], **{field: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert (await planes.embed("red", name=SPARSE, outputs=["sparse"], outputDtype="float")).status_code == 200


async def test_the_list_of_models_says_what_each_gives(planes):
    listed = (await planes.inference.get("/v1/models")).json()["data"]
    assert {one["id"]: one["outputs"] for one in listed} == {DENSE: ["dense"], SPARSE: ["sparse"]}


@pytest.mark.parametrize("others", [(), ("dense",)])
async def test_a_request_that_names_no_model_finds_one_by_its_further_outputs(tmp_path, others):
    async with running_models(tmp_path, *others, "bge-m3") as planes:
        (own,) = (await ask(planes, "/embed_sparse", name="bge-m3", text="red green"))["embeddings"]
        (entries,) = await ask(planes, "/embed_sparse", inputs="red green")
        assert [one["index"] for one in entries] == own["indices"]
        named = await ask(planes, "/rerank", name="bge-m3", query=QUERY, documents=DOCUMENTS)
        ranked = await ask(planes, "/v1/rerank", query=QUERY, documents=DOCUMENTS)
        assert [one["index"] for one in ranked["results"]] == [one["index"] for one in named["results"]]
        listed = (await planes.inference.get("/cohere/v1/models/bge-m3")).json()
        assert listed["endpoints"] == ["embed", "rerank"]


@pytest.mark.parametrize(("configured", "chosen"), [((), "sparse"), (("bge-m3",), "bge-m3")])
async def test_a_model_whose_only_output_it_is_comes_first_unless_another_is_configured(tmp_path, configured, chosen):
    async with running_models(tmp_path, "bge-m3", "sparse", default_models=configured) as planes:
        (own,) = (await ask(planes, "/embed_sparse", name=chosen, text="red green"))["embeddings"]
        (entries,) = await ask(planes, "/embed_sparse", inputs="red green")
        assert [one["value"] for one in entries] == pytest.approx(own["values"], abs=1e-6)


async def test_the_vectors_of_tokens_for_vllm_are_those_of_the_output(tmp_path):
    """As in vLLM, the first token of BGE-M3 has none."""
    async with running_models(tmp_path, "bge-m3") as planes:
        own = await ask(planes, "/embed_multi_vector", name="bge-m3", text=["red", "red green blue"])
        found = await ask(planes, "/pooling", model="bge-m3", input=["red", "red green blue"], task="token_embed")
        assert [len(one["data"]) for one in found["data"]] == own["vectorCounts"]
