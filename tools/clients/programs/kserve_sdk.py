# requirements: kserve==0.21.0
# dialect: KServe
# title: KServe's InferenceRESTClient
"""The REST client of KServe's own SDK, with tensors in JSON and in binary."""

import asyncio

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def _tensor(name, items, binary=False):
    given = InferInput(name, [len(items)], "BYTES")
    given.set_data_from_numpy(np.array(items, dtype=object), binary_data=binary)
    return given


async def _infer(server, model, inputs, parameters):
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        request = InferRequest(model_name=model, infer_inputs=inputs, parameters=parameters)
        headers = {"Authorization": f"Bearer {server.key}"}
        return await client.infer(server.url, request, model_name=model, headers=headers)


def _output(server, model, name, inputs, **parameters):
    return asyncio.run(_infer(server, model, inputs, parameters)).get_output_by_name(name).as_numpy()


def embed(server):
    found = _output(server, server.dense, "embedding", [_tensor("text", TEXTS[:1])])
    assert np.allclose(found, server.vectors(TEXTS[:1]), atol=1e-6)


def batch(server):
    for parameters in ({}, {"binary_data_output": True}):
        found = _output(server, server.dense, "embedding", [_tensor("text", TEXTS, binary=True)], **parameters)
        assert np.allclose(found, server.vectors(TEXTS), atol=1e-6)


def dimensions(server):
    found = _output(server, server.dense, "embedding", [_tensor("text", TEXTS)], n_dims=64)
    assert np.allclose(found, server.vectors(TEXTS, nDims=64), atol=1e-6)


def rerank(server):
    found = _output(server, server.reranker, "score", [_tensor("query", [QUERY]), _tensor("document", TEXTS)])
    assert np.allclose(found, server.scores(QUERY, TEXTS), atol=1e-6)


def describe(server):
    async def check():
        headers = {"Authorization": f"Bearer {server.key}"}
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
            assert await client.is_server_live(server.url)
            assert await client.is_server_ready(server.url)
            assert await client.is_model_ready(server.url, server.dense, headers=headers)

    asyncio.run(check())


def errors(server):
    try:
        _output(server, "absent", "embedding", [_tensor("text", TEXTS)])
    except httpx.HTTPStatusError as error:
        assert "absent" in str(error) and error.response.status_code == 404, error
    else:
        raise AssertionError("nothing was raised")
