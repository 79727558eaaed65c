"""What a request may say of its texts and vectors: prompts, truncation, output types, base64."""

import base64
import io

import numpy as np
import pytest

from images import encode, scene
from ingrain.repository.manifest import TextPreprocess
from ingrain.settings import Settings
from ingrain.testing.fake_engine import fake_vector
from planes import MAX_TOKENS, WIDTH, ids_of, running_planes

LONG = " ".join(["red"] * 100)
SAMPLE = np.random.default_rng(3).uniform(-1, 1, (50, WIDTH)).astype(np.float32)
PICTURE = base64.b64encode(encode(scene(20, 12), "PNG")).decode()


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def truth(text):
    return unit(fake_vector(ids_of(text), WIDTH))


@pytest.fixture
async def prompted(planes):
    """The planes, with a model that has prompts, of which `query` is the default, and a calibration sample."""
    planes.export.text = TextPreprocess(
        max_tokens=MAX_TOKENS, prompts={"query": "green ", "blue": "blue "}, default_prompt_name="query"
    )
    planes.export.sample = SAMPLE
    await planes.load("org/prompted")
    return planes


@pytest.mark.parametrize(
    ("fields", "full"),
    [
        ({}, "green red"),
        ({"promptName": "blue"}, "blue red"),
        ({"prompt_name": "blue"}, "blue red"),
        ({"inputType": "query"}, "green red"),
        ({"inputType": "document"}, "red"),
        ({"prompt": "w1 w2 "}, "w1 w2 red"),
        ({"prompt": ""}, "red"),
        ({"prompt": None, "promptName": None}, "green red"),
    ],
    ids=str,
)
@pytest.mark.parametrize("route", ["/embed_text", "/embed", "/infer_text"])
async def test_prompts_go_before_the_texts(prompted, route, fields, full):
    answer = await prompted.inference.post(route, json={"name": "org/prompted", "text": ["red"], **fields})
    rows = answer.json()["textEmbeddings" if route == "/embed" else "embeddings"]
    np.testing.assert_allclose(rows, [truth(full)], atol=1e-6)


async def test_an_unknown_prompt_is_refused_with_the_names(prompted):
    answer = await prompted.embed("red", name="org/prompted", promptName="passage")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "promptName")
    assert error["promptNames"] == ["blue", "document", "query"]
    assert (await prompted.embed("red", name="org/prompted", inputType="passage")).status_code == 400


@pytest.mark.usefixtures("way")
async def test_a_prompt_cannot_make_texts_longer_than_their_limit(tmp_path):
    """Neither one of them nor, by being put before each of many, all of them."""
    async with running_planes(tmp_path, Settings(max_text_chars=100_000)) as planes:
        await planes.load()
        too_long = await planes.embed(["red", "w1 " * 1000], prompt="w2 " * 33_000)
        too_many = await planes.embed(["red"] * 1000, prompt="w2 " * 5_000)
        for answer in (too_long, too_many):
            assert (answer.status_code, answer.json()["error"]["param"]) == (413, "prompt")


@pytest.mark.usefixtures("way")
async def test_cut_texts_are_told(planes):
    """How many, in a header of every answer; which and how long, where the request asks for it."""
    answer = await planes.embed(["red", LONG, "red green", LONG], tokenCounts=True)
    assert answer.json()["tokenCounts"] == [3, MAX_TOKENS, 4, MAX_TOKENS]
    assert answer.json()["truncated"] == [False, True, False, True]
    for media in ("application/json", "application/octet-stream", "application/x-npy"):
        body = {"name": "org/model", "text": ["red", LONG]}
        answer = await planes.inference.post("/embed_text", json=body, headers={"accept": media})
        assert answer.headers["x-truncated-texts"] == "1"
    both = await planes.inference.post("/embed", json={"name": "org/model", "text": [LONG], "tokenCounts": True})
    assert (both.json()["tokenCounts"], both.headers["x-truncated-texts"]) == ([MAX_TOKENS], "1")
    uncut = await planes.embed(["red", " ".join(["red"] * (MAX_TOKENS - 2))])
    assert "x-truncated-texts" not in uncut.headers
    assert set(uncut.json()) == {"embeddings", "processingTimeMs"}


@pytest.mark.parametrize("route", ["/embed_text", "/embed"])
@pytest.mark.usefixtures("way")
async def test_truncate_false_refuses_instead(planes, route):
    body = {"name": "org/model", "text": ["red", LONG], "truncate": False}
    answer = await planes.inference.post(route, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "text_too_long", "text[1]")
    assert (error["index"], error["tokens"], error["limit"]) == (1, 102, MAX_TOKENS)
    answer = await planes.inference.post(route, json={**body, "text": [" ".join(["red"] * (MAX_TOKENS - 2))]})
    assert answer.status_code == 200


@pytest.mark.usefixtures("way")
async def test_a_refused_text_reaches_no_engine(planes):
    before = len(planes.engine.batches)
    await planes.embed(["red", LONG], truncate=False)
    assert len(planes.engine.batches) == before


@pytest.mark.parametrize(
    ("kind", "dtype"), [("int8", np.int8), ("uint8", np.uint8), ("binary", np.int8), ("ubinary", np.uint8)]
)
async def test_output_types_in_every_writing(prompted, kind, dtype):
    """JSON, base64, raw and npy hold the same numbers: those of the ranges that the sample has in this form."""
    rows, sample = np.array([truth("green red"), truth("green blue")]), unit(SAMPLE)
    if kind in ("int8", "uint8"):
        low, high = sample.min(axis=0), sample.max(axis=0)
        expected = np.clip(np.floor((rows - low) / ((high - low) / 255)), 0, 255) - (128 if kind == "int8" else 0)
    else:
        expected = np.packbits(rows > 0, axis=1).astype(int) - (128 if kind == "binary" else 0)
    body = {"name": "org/prompted", "text": ["red", "blue"], "outputDtype": kind}
    numbers = (await prompted.inference.post("/embed_text", json=body)).json()["embeddings"]
    assert np.abs(np.array(numbers) - expected).max() <= (1 if kind.endswith("int8") else 0)  # at a bucket's very edge
    texts = (await prompted.inference.post("/embed_text", json={**body, "encodingFormat": "base64"})).json()
    assert [np.frombuffer(base64.b64decode(row), dtype).tolist() for row in texts["embeddings"]] == numbers
    raw = await prompted.inference.post("/embed_text", json=body, headers={"accept": "application/octet-stream"})
    assert raw.headers["x-embeddings-dtype"] == np.dtype(dtype).name
    rows_columns = tuple(map(int, raw.headers["x-embeddings-shape"].split(",")))
    assert np.frombuffer(raw.content, dtype).reshape(rows_columns).tolist() == numbers
    npy = await prompted.inference.post("/embed_text", json=body, headers={"accept": "application/x-npy"})
    loaded = np.load(io.BytesIO(npy.content))
    assert (loaded.dtype, loaded.tolist()) == (dtype, numbers)


async def test_a_model_without_a_sample_says_that_it_lacks_ranges(planes):
    answer = await planes.embed("red", outputDtype="int8")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "outputDtype")
    assert (await planes.embed("red", outputDtype="ubinary")).status_code == 200


async def test_images_have_bits_but_no_ranges(planes):
    planes.export.sample = SAMPLE
    await planes.load("clip", "open_clip")
    body = {"name": "clip", "image": PICTURE, "outputDtype": "ubinary"}
    (bits,) = (await planes.inference.post("/embed_image", json=body)).json()["embeddings"]
    (row,) = (await planes.inference.post("/embed_image", json={**body, "outputDtype": None})).json()["embeddings"]
    assert bits == np.packbits(np.array(row) > 0).tolist()
    refused = await planes.inference.post("/embed_image", json={**body, "outputDtype": "int8"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_modality")


async def test_base64_is_float32_little_endian_one_string_a_vector(planes):
    await planes.load("clip", "open_clip")
    body = {"name": "clip", "text": ["red", "blue"], "image": PICTURE}
    numbers = (await planes.inference.post("/embed", json=body)).json()
    written = (await planes.inference.post("/embed", json={**body, "encodingFormat": "base64"})).json()
    for field in ("textEmbeddings", "imageEmbeddings"):
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in written[field]]
        np.testing.assert_array_equal(rows, np.array(numbers[field], np.float32))
    single = (await planes.embed("red", encoding_format="base64", nDims=3)).json()["embeddings"]
    assert len(base64.b64decode(single[0])) == 3 * 4
    assert (await planes.embed("red", encodingFormat="hex")).status_code == 400
