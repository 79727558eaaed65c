# requirements: tritonclient[grpc]==2.62.0
# dialect: KServe
# title: tritonclient.grpc
"""Triton's client over gRPC, as it is: calls, and a stream of requests."""

import queue

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def _headers(server):
    return {"authorization": f"Bearer {server.key}"}


def _tensor(name, items):
    given = triton.InferInput(name, [len(items)], "BYTES")
    given.set_data_from_numpy(np.array(items, dtype=object))
    return given


def _infer(server, model, inputs, outputs=None, **parameters):
    client = triton.InferenceServerClient(server.grpc)
    return client.infer(model, inputs, outputs=outputs, headers=_headers(server), parameters=parameters)


def embed(server):
    done = _infer(server, server.dense, [_tensor("text", TEXTS[:1])], [triton.InferRequestedOutput("embedding")])
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
    done = _infer(server, server.classifier, [_tensor("text", TEXTS)], wanted)
    assert all(len(row[0].decode().split(":")) == 3 for row in done.as_numpy("probability"))


def stream(server):
    client, answers = triton.InferenceServerClient(server.grpc), queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=_headers(server))
    for number, text in enumerate(TEXTS):
        client.async_stream_infer(server.dense, [_tensor("text", [text])], request_id=str(number))
    vectors = server.vectors(TEXTS)
    for _ in TEXTS:
        result, error = answers.get(timeout=60)
        assert error is None, error
        expected = vectors[int(result.get_response().id)]
        assert np.allclose(result.as_numpy("embedding")[0], expected, atol=1e-6)
    client.stop_stream()


def describe(server):
    client, headers = triton.InferenceServerClient(server.grpc), _headers(server)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(server.dense, headers=headers)
    assert client.get_server_metadata().name == "ingrain"
    assert client.get_model_metadata(server.dense, headers=headers).outputs[0].shape == [-1, 384]
    assert server.dense in [one.name for one in client.get_model_repository_index(headers=headers).models]


def errors(server):
    for model, inputs, word, status in (
        ("absent", [_tensor("text", TEXTS)], "absent", "NOT_FOUND"),
        (server.dense, [_tensor("words", TEXTS)], "inputs are text", "INVALID_ARGUMENT"),
    ):
        try:
            _infer(server, model, inputs)
        except InferenceServerException as error:
            assert word in error.message() and status in error.status(), error
        else:
            raise AssertionError("nothing was raised")
    try:
        triton.InferenceServerClient(server.grpc).infer(server.dense, [_tensor("text", TEXTS)])
    except InferenceServerException as error:
        assert "UNAUTHENTICATED" in error.status(), error
    else:
        raise AssertionError("nothing was raised")
