"""KServe's dialect over HTTP: the same numbers as Ingrain's own API has, the protocol's tensors and errors."""

import base64
import json
import struct

import numpy as np
import pytest
import pytest_asyncio
import tritonclient.http.aio as triton
from tritonclient.utils import InferenceServerException

from images import encode, scene
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
    running_models,
)

FILE = base64.b64decode(PICTURE.partition(",")[2])
LENGTH = "inference-header-content-length"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def planes(tmp_path_factory):
    models = ("dense", "reranker", "classifier", "clip", "sparse", "bge-m3", "org/timm")
    async with running_models(tmp_path_factory.mktemp("planes"), *models) as planes:
        yield planes


def tensor(name, items, **fields):
    return {"name": name, "shape": [len(items)], "datatype": "BYTES", "data": items} | fields


async def infer(planes, model, *inputs, outputs=None, **parameters):
    """Return the outputs of an inference as arrays, by name."""
    body = {"inputs": list(inputs), "parameters": parameters}
    if outputs is not None:
        body["outputs"] = [{"name": output} for output in outputs]
    answer = await ask(planes, f"/v2/models/{model}/infer", **body)
    assert (answer["model_name"], answer["model_version"]) == (model.partition("/versions")[0], "1")
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer["outputs"]}


async def test_vectors_of_texts(planes):
    expected = await native_vectors(planes, TEXTS)
    for model in ("dense", "dense/versions/1"):
        done = await infer(planes, model, tensor("text", TEXTS))
        np.testing.assert_allclose(done["embedding"], expected, atol=1e-6)
    rows = tensor("text", [[text] for text in TEXTS], shape=[3, 1], parameters={"content_type": "str"})
    np.testing.assert_allclose((await infer(planes, "dense", rows))["embedding"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "native"),
    [
        ({"normalize": False}, {"normalize": False}),
        ({"n_dims": 3}, {"nDims": 3}),
        ({"nDims": 3, "truncate": True}, {"nDims": 3}),
        ({"output_dtype": "int8"}, {"outputDtype": "int8"}),
        ({"output_dtype": "ubinary"}, {"outputDtype": "ubinary"}),
        ({"prompt": "green "}, {"prompt": "green "}),
        ({"input_type": "query"}, {"inputType": "query"}),
        ({"library": "sentence_transformers", "priority": 1, "timeout": 5}, {}),
    ],
)
async def test_options_are_those_of_the_own_api(planes, parameters, native):
    done = await infer(planes, "dense", tensor("text", TEXTS), **parameters)
    np.testing.assert_allclose(done["embedding"], await native_vectors(planes, TEXTS, **native), atol=1e-6)


async def test_tritons_client_sends_and_gets_binary_tensors(planes):
    """Its defaults: inputs and outputs in binary, without a content type; numbers of bytes and bits, too."""
    async with triton.InferenceServerClient(
        str(planes.inference.base_url).removeprefix("http://").rstrip("/")
    ) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("dense", "1")
        assert not await client.is_model_ready("absent")
        given = triton.InferInput("text", [len(TEXTS)], "BYTES")
        given.set_data_from_numpy(np.array(TEXTS, dtype=object))
        for dtype, kind in (("float", np.float32), ("int8", np.int8), ("ubinary", np.uint8)):
            done = await client.infer("dense", [given], request_id="7", parameters={"output_dtype": dtype})
            vectors = done.as_numpy("embedding")
            expected = await native_vectors(planes, TEXTS, outputDtype=dtype)
            assert vectors.dtype == kind
            np.testing.assert_allclose(vectors, expected, atol=1e-6)
            assert done.get_response()["id"] == "7"
        plain = triton.InferRequestedOutput("embedding", binary_data=False)
        done = await client.infer("dense", [given], outputs=[plain], request_compression_algorithm="gzip")
        np.testing.assert_allclose(done.as_numpy("embedding"), await native_vectors(planes, TEXTS), atol=1e-6)
        named = triton.InferRequestedOutput("probability", class_count=2)
        best = (await client.infer("classifier", [given], outputs=[named])).as_numpy("probability")
        expected = await native_classes(planes, TEXTS)
        assert best.shape == (len(TEXTS), 2)
        for row, scores in zip(best, expected, strict=True):
            score, _, label = row[0].decode().split(":")
            assert (label, float(score)) == (max(scores, key=scores.get), pytest.approx(max(scores.values()), abs=1e-5))
        with pytest.raises(InferenceServerException, match="absent"):
            await client.infer("absent", [given])
        assert {one["name"] for one in await client.get_model_repository_index()} >= {"dense", "org/timm"}


async def test_many_binary_elements_and_large_json_are_read_in_a_thread(planes):
    texts = [f"red w{n % 90} {'green ' * 20}" for n in range(1500)]
    expected = await native_vectors(planes, texts)
    raw = b"".join(struct.pack("<I", len(text)) + text.encode() for text in texts)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "text",
                    "shape": [len(texts)],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(raw)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    answer = await planes.inference.post("/v2/models/dense/infer", content=head + raw, headers={LENGTH: str(len(head))})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    vectors = np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], "<f4").reshape(len(texts), -1)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    done = await infer(planes, "dense", tensor("text", texts))
    np.testing.assert_allclose(done["embedding"], expected, atol=1e-6)


async def test_images_as_texts_and_as_files(planes):
    expected = await native_image(planes)
    for given in (PICTURE, PICTURE.partition(",")[2]):
        done = await infer(planes, "clip", tensor("image", [given]))
        np.testing.assert_allclose(done["embedding"][0], expected, atol=1e-6)
    async with triton.InferenceServerClient(
        str(planes.inference.base_url).removeprefix("http://").rstrip("/")
    ) as client:
        for files in ([FILE, PICTURE.encode()], [encode(scene(300, 300), "BMP")] * 2):
            given = triton.InferInput("image", [len(files)], "BYTES")
            given.set_data_from_numpy(np.array(files, dtype=object))
            vectors = (await client.infer("clip", [given])).as_numpy("embedding")
            np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
        large = base64.b64encode(files[0]).decode()
        np.testing.assert_allclose(vectors[0], await native_image(planes, large), atol=1e-6)
    both = await infer(planes, "clip", tensor("image", [PICTURE]), tensor("text", TEXTS))
    np.testing.assert_allclose(both["image_embedding"][0], expected, atol=1e-6)
    np.testing.assert_allclose(both["text_embedding"], await native_vectors(planes, TEXTS, "clip"), atol=1e-6)
    rows = (await infer(planes, "org/timm", tensor("image", [PICTURE])))["probability"]
    native = await ask(planes, "/classify_image", name="org/timm", image=[PICTURE])
    np.testing.assert_allclose(rows, native["probabilities"], atol=1e-6)


async def test_scores(planes):
    expected = await native_ranking(planes)
    done = await infer(planes, "reranker", tensor("query", [QUERY]), tensor("document", DOCUMENTS))
    np.testing.assert_allclose(done["score"], [expected[place] for place in range(len(DOCUMENTS))], atol=1e-6)
    pairs = await infer(planes, "reranker", tensor("query", [QUERY] * 3), tensor("document", DOCUMENTS))
    np.testing.assert_allclose(pairs["score"], done["score"], atol=1e-6)
    raw = await infer(planes, "reranker", tensor("query", [QUERY]), tensor("document", DOCUMENTS), raw_scores=True)
    np.testing.assert_allclose(1 / (1 + np.exp(-raw["score"])), done["score"], atol=1e-6)
    native = await ask(planes, "/classify_text", name="reranker", text=TEXTS)
    rows = (await infer(planes, "reranker", tensor("text", TEXTS)))["probability"]
    np.testing.assert_allclose(rows[:, 0], [one[0]["score"] for one in native["results"]], atol=1e-6)
    rows = (await infer(planes, "classifier", tensor("text", TEXTS)))["probability"]
    labels = (await planes.inference.get("/v2/models/classifier")).json()["outputs"][0]["parameters"]["labels"]
    named = [dict(zip(labels, row, strict=True)) for row in rows]
    assert named == [pytest.approx(one, abs=1e-6) for one in await native_classes(planes, TEXTS)]


@pytest.mark.parametrize("model", ["sparse", "bge-m3"])
async def test_sparse_vectors_are_padded(planes, model):
    done = await infer(planes, model, tensor("text", TEXTS), outputs=["values", "indices"], top_k=3)
    assert list(done) == ["values", "indices"], "in the order of the request"
    native = await ask(planes, "/embed_sparse", name=model, text=TEXTS, topK=3)
    for indices, values, expected in zip(done["indices"], done["values"], native["embeddings"], strict=True):
        assert indices[indices >= 0].tolist() == expected["indices"]
        np.testing.assert_allclose(values[indices >= 0], expected["values"], atol=1e-6)
        assert not values[indices < 0].any()


async def test_several_outputs_at_once(planes):
    names = ["token_count", "embedding", "token_embedding", "indices"]
    done = await infer(planes, "bge-m3", tensor("text", TEXTS), outputs=names)
    fields = {"name": "bge-m3", "text": TEXTS, "outputs": ["dense", "multiVector"]}
    native = await ask(planes, "/embed_text", **fields)
    np.testing.assert_allclose(done["embedding"], native["embeddings"], atol=1e-6)
    assert done["token_count"].tolist() == native["vectorCounts"]
    np.testing.assert_allclose(done["token_embedding"], np.concatenate(native["multiVectorEmbeddings"]), atol=1e-6)
    assert list(await infer(planes, "bge-m3", tensor("text", TEXTS))) == ["embedding"]


@pytest.mark.parametrize("model", ["dense", "reranker", "classifier", "clip", "sparse", "bge-m3", "org/timm"])
async def test_the_metadata_are_those_of_inferences(planes, model):
    found = (await planes.inference.get(f"/v2/models/{model}/versions/1")).json()
    assert (found["name"], found["versions"]) == (model, ["1"])
    assert all(one["datatype"] == "BYTES" for one in found["inputs"])
    given = {"text": TEXTS[:1], "image": [PICTURE], "query": [QUERY], "document": DOCUMENTS, "text_pair": TEXTS[:1]}
    names = [one["name"] for one in found["inputs"]]
    if model == "bge-m3":
        names = ["text"]
    outputs = [one["name"] for one in found["outputs"] if one["name"] != "score" or model == "reranker"]
    if model == "clip":
        outputs.remove("embedding")
    inputs = [tensor(name, given[name]) for name in names]
    body = {"inputs": inputs, "outputs": [{"name": name} for name in outputs]}
    answer = (await ask(planes, f"/v2/models/{model}/infer", **body))["outputs"]
    described = {one["name"]: one for one in found["outputs"]}
    for one in answer:
        expected = described[one["name"]]
        assert one["datatype"] == expected["datatype"]
        assert len(one["shape"]) == len(expected["shape"])
        assert all(wanted in (-1, size) for wanted, size in zip(expected["shape"], one["shape"], strict=True))


async def test_the_server_and_its_models_are_listed(planes):
    answer = (await planes.inference.get("/v2")).json()
    assert (answer["name"], "binary_tensor_data" in answer["extensions"]) == ("ingrain", True)
    assert (await planes.inference.get("/v2/health/live")).json() == {"live": True}
    assert (await planes.inference.get("/v2/health/ready")).json() == {"ready": True}
    assert (await planes.inference.get("/v2/models/org/timm/ready")).json() == {"name": "org/timm", "ready": True}
    assert "org/timm" in (await planes.inference.get("/v2/models")).json()["models"]
    found = (await planes.inference.post("/v2/repository/index", json={"ready": True})).json()
    assert {"name": "dense", "version": "1", "state": "READY", "reason": ""} in found


async def test_truncation_is_told(planes):
    body = {"inputs": [tensor("text", [LONG, "red"])], "id": "mine"}
    answer = await planes.inference.post("/v2/models/dense/infer", json=body)
    assert answer.headers["x-truncated-texts"] == "1"
    assert (answer.json()["parameters"], answer.json()["id"]) == ({"truncated_texts": 1}, "mine")


@pytest.mark.parametrize(
    ("model", "wrong", "status", "word"),
    [
        ("absent", {}, 404, "absent"),
        ("dense/versions/2", {}, 404, "version"),
        ("dense", {"inputs": []}, 400, "inputs"),
        ("dense", {"inputs": [tensor("texts", TEXTS)]}, 400, "its inputs are text"),
        ("dense", {"inputs": [tensor("text", TEXTS)] * 2}, 400, "twice"),
        ("dense", {"inputs": [tensor("text", TEXTS, shape=[4])]}, 400, "shape"),
        ("dense", {"inputs": [tensor("text", TEXTS, shape=[1, 3])]}, 400, "[N, 1]"),
        ("dense", {"inputs": [tensor("text", [])]}, 400, "empty"),
        ("dense", {"inputs": [tensor("text", [1.0], datatype="FP32")]}, 400, "BYTES"),
        ("dense", {"inputs": [tensor("text", [1])]}, 400, "text[0]"),
        ("dense", {"inputs": [tensor("text", [None])]}, 400, "text[0]"),
        ("dense", {"inputs": [tensor("text", ["cmVk"], parameters={"content_type": "base64"})]}, 400, "base64"),
        ("dense", {"inputs": [tensor("text", TEXTS, parameters={"input_type": "query"})]}, 400, "'input_type'"),
        ("dense", {"inputs": [tensor("text", TEXTS, parameters={"shared_memory_region": "a"})]}, 400, "shared"),
        ("dense", {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES"}]}, 400, "no data"),
        ("dense", {"inputs": [tensor("image", [PICTURE])]}, 400, "no input 'image'"),
        ("dense", {"outputs": [{"name": "probability"}]}, 400, "its outputs are embedding"),
        ("dense", {"outputs": [{"name": "embedding"}] * 2}, 400, "twice"),
        ("dense", {"outputs": [{"name": "embedding", "parameters": {"classification": 2}}]}, 400, "classes"),
        ("dense", {"outputs": [{"name": "embedding", "parameters": {"shared_memory_region": "a"}}]}, 400, "shared"),
        ("dense", {"parameters": {"temperature": 1}}, 400, "temperature"),
        ("dense", {"parameters": {"normalize": "perhaps"}}, 400, "normalize"),
        ("dense", {"parameters": {"n_dims": 9}}, 400, "n_dims"),
        ("dense", {"parameters": {"top_k": 9}}, 400, "top_k"),
        ("dense", {"parameters": {"prompt_name": "ode"}}, 400, "ode"),
        ("dense", {"parameters": {"truncate": False}, "inputs": [tensor("text", [LONG])]}, 400, "tokens"),
        ("reranker", {"inputs": [tensor("image", [PICTURE])]}, 400, "no input 'image'"),
        ("reranker", {"inputs": [tensor("query", [QUERY])]}, 400, "document"),
        (
            "reranker",
            {"inputs": [tensor("query", [QUERY] * 2), tensor("document", DOCUMENTS)]},
            400,
            "document",
        ),
        ("clip", {"inputs": [tensor("image", ["no picture"])]}, 400, "image[0]"),
        ("sparse", {"parameters": {"normalize": True}}, 400, "normalize"),
        ("sparse", {"parameters": {"input_type": "ode"}}, 400, "input_type"),
    ],
)
async def test_mistakes_have_the_protocols_error(planes, model, wrong, status, word):
    body = {"inputs": [tensor("text", TEXTS)]} | wrong
    answer = await planes.inference.post(f"/v2/models/{model}/infer", json=body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert word in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "raw", "length", "word"),
    [
        (7, struct.pack("<I", 3) + b"red", None, None),
        (6, struct.pack("<I", 3) + b"re", None, "element 0"),
        (3, b"\1\0\0", None, "element 0"),
        (8, struct.pack("<I", 3) + b"red", None, "binary_data_size"),
        (-1, b"", None, "binary_data_size"),
        (7, struct.pack("<I", 3) + b"red" + b"more", None, "4 bytes"),
        (7, struct.pack("<I", 3) + b"\xff\xfe\xff", None, "UTF-8"),
        (7, struct.pack("<I", 3) + b"red", "10000", "Content-Length"),
        (7, struct.pack("<I", 3) + b"red", "-1", "Content-Length"),
        (7, struct.pack("<I", 3) + b"red", "0" * 20 + "9" * 5_000, "Content-Length"),
        (7, struct.pack("<I", 3) + b"red", "5", "JSON"),
    ],
)
async def test_binary_data_that_do_not_match_are_refused(planes, size, raw, length, word):
    given = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [given]}).encode()
    headers = {LENGTH: length or str(len(head))}
    answer = await planes.inference.post("/v2/models/dense/infer", content=head + raw, headers=headers)
    assert answer.status_code == (400 if word else 200), answer.text
    assert word is None or word in answer.json()["error"]


async def test_keys_and_limits_hold(tmp_path):
    async with running_models(tmp_path, api_keys=("secret",), max_items=2) as planes:
        body = {"inputs": [tensor("text", TEXTS)]}
        answer = await planes.inference.post("/v2/models/dense/infer", json=body)
        assert (answer.status_code, list(answer.json())) == (401, ["error"])
        assert (await planes.inference.get("/v2/health/live")).status_code == 200
        await planes.load("dense", key="secret")
        headers = {"authorization": "Bearer secret"}
        answer = await planes.inference.post("/v2/models/dense/infer", json=body, headers=headers)
        assert (answer.status_code, list(answer.json())) == (413, ["error"])
        raw = b"".join(struct.pack("<I", len(text)) + text.encode() for text in TEXTS)
        body["inputs"][0] = {**body["inputs"][0], "parameters": {"binary_data_size": len(raw)}}
        del body["inputs"][0]["data"]
        head = json.dumps(body).encode()
        answer = await planes.inference.post(
            "/v2/models/dense/infer", content=head + raw, headers=headers | {LENGTH: str(len(head))}
        )
        assert answer.status_code == 413
