# requirements: huggingface_hub==2.4.0 numpy==2.4.6
# dialect: TEI
# title: huggingface_hub AsyncInferenceClient
"""Hugging Face's own asynchronous client for endpoints of text-embeddings-inference."""

import asyncio

from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]


def _run(server, model, method, *args, **fields):
    async def call():
        async with AsyncInferenceClient(base_url=f"{server.url}/tei/{model}", api_key=server.key) as client:
            return await getattr(client, method)(*args, **fields)

    return asyncio.run(call())


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    _close(_run(server, server.dense, "feature_extraction", TEXTS[0]), server.vectors(TEXTS[:1]))


def batch(server):
    _close(_run(server, server.dense, "feature_extraction", TEXTS), server.vectors(TEXTS))


def dimensions(server):
    found = _run(server, server.dense, "feature_extraction", TEXTS, dimensions=64)
    _close(found, server.vectors(TEXTS, nDims=64))


def similarity(server):
    found = _run(server, server.dense, "sentence_similarity", TEXTS[0], other_sentences=TEXTS[1:])
    first, *others = server.vectors(TEXTS)
    cosines = [sum(a * b for a, b in zip(first, other, strict=True)) for other in others]
    assert all(abs(a - b) < 1e-5 for a, b in zip(found, cosines, strict=True)), (found, cosines)


def classify(server):
    scores = [one.score for one in _run(server, server.classifier, "text_classification", TEXTS[0])]
    assert scores and scores == sorted(scores, reverse=True), scores


def errors(server):
    try:
        _run(server, server.dense, "feature_extraction", "word " * 3000)
    except HfHubHTTPError as error:
        assert error.response.status_code == 413, error
        assert error.response.json()["error_type"] == "Validation"
    else:
        raise AssertionError("nothing was raised")
