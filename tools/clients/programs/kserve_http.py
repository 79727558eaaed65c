# requirements: tritonclient[http]==2.62.0
# dialect: KServe
# title: tritonclient.http
"""Triton's client over HTTP, as it is: tensors in binary both ways."""

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def _client(url):
    return triton.InferenceServerClient(url.removeprefix("http://"))


def _tensor(name, items):
    given = triton.InferInput(name, [len(items)], "BYTES")
    given.set_data_from_numpy(np.array(items, dtype=object))
    return given


def _infer(server, model, inputs, outputs=None, url=None, **parameters):
    headers = {"Authorization": f"Bearer {server.key}"}
    wanted = [triton.InferRequestedOutput(name) for name in outputs] if outputs else None
    return _client(url or server.url).infer(model, inputs, outputs=wanted, headers=headers, parameters=parameters)


def embed(server):
    done = _infer(server, server.dense, [_tensor("text", TEXTS[:1])], ["embedding"])
    assert np.allclose(done.as_numpy("embedding"), server.vectors(TEXTS[:1]), atol=1e-6)


def batch(server):
    texts = TEXTS * 50
    done = _infer(server, server.dense, [_tensor("text", texts)])
    assert np.allclose(done.as_numpy("embedding"), server.vectors(texts), atol=1e-6)


def dimensions(server):
    done = _infer(server, server.dense, [_tensor("text", TEXTS)], n_dims=64)
    assert np.allclose(done.as_numpy("embedding"), server.vectors(TEXTS, nDims=64), atol=1e-6)


def rerank(server):
    done = _infer(server, server.reranker, [_tensor("query", [QUERY]), _tensor("document", TEXTS)])
    assert np.allclose(done.as_numpy("score"), server.scores(QUERY, TEXTS), atol=1e-6)


def sparse(server):
    done = _infer(server, server.sparse, [_tensor("text", TEXTS)])
    assert done.as_numpy("indices").shape == done.as_numpy("values").shape
    assert (done.as_numpy("values") > 0).any(axis=1).all()


def classify(server):
    wanted = [triton.InferRequestedOutput("probability", class_count=1)]
    headers = {"Authorization": f"Bearer {server.key}"}
    done = _client(server.url).infer(server.classifier, [_tensor("text", TEXTS)], outputs=wanted, headers=headers)
    assert all(len(row[0].decode().split(":")) == 3 for row in done.as_numpy("probability"))


def describe(server):
    client, headers = _client(server.url), {"Authorization": f"Bearer {server.key}"}
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(server.dense, headers=headers)
    assert client.get_server_metadata(headers=headers)["name"] == "ingrain"
    assert client.get_model_metadata(server.dense, headers=headers)["outputs"][0]["shape"] == [-1, 384]
    assert server.dense in [one["name"] for one in client.get_model_repository_index(headers=headers)]


def errors(server):
    for model, inputs, word in (
        ("absent", [_tensor("text", TEXTS)], "absent"),
        (server.dense, [_tensor("words", TEXTS)], "inputs are text"),
    ):
        try:
            _infer(server, model, inputs)
        except InferenceServerException as error:
            assert word in error.message() and error.status() in ("400", "404"), error
        else:
            raise AssertionError("nothing was raised")
