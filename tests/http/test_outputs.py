"""`outputs` of /embed_text for models with one output: what they have is given, what they lack is named."""

import numpy as np
import pytest

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


async def test_the_list_of_models_says_what_each_gives(planes):
    listed = (await planes.inference.get("/v1/models")).json()["data"]
    assert {one["id"]: one["outputs"] for one in listed} == {DENSE: ["dense"], SPARSE: ["sparse"]}
