# requirements: chromadb==1.5.9 cohere==7.3.1 pillow==13.0.0
# dialect: Cohere
# title: Chroma's CohereEmbeddingFunction
"""Chroma's embedding function of Cohere, which finds the server by CO_API_URL when Cohere's client is imported."""

import os
import sys

import numpy as np

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]


def _function(server, url=None, key=None, model=None):
    os.environ |= {"CO_API_URL": url or server.url, "CHROMA_COHERE_API_KEY": key or server.key}
    for name in [name for name in sys.modules if name.partition(".")[0] == "cohere"]:
        del sys.modules[name]  # so that it is imported with the URL of now
    from chromadb.utils.embedding_functions import CohereEmbeddingFunction

    return CohereEmbeddingFunction(model_name=model or server.dense)


def _close(found, expected):
    assert np.abs(np.asarray(found) - np.asarray(expected)).max() < 1e-6


def embed(server):
    _close(_function(server)(TEXTS[:1]), server.vectors(TEXTS[:1], inputType="document"))


def batch(server):
    _close(_function(server)(TEXTS), server.vectors(TEXTS, inputType="document"))


def images(server):
    picture = np.linspace(0, 255, 40 * 30 * 3).reshape(40, 30, 3).astype(np.uint8)
    (vector,) = _function(server, model=server.clip)([picture])
    assert len(vector) > 8
    assert abs(np.linalg.norm(vector) - 1) < 1e-4


def errors(server):
    for status, fields in (
        (404, {"model": "no-such-model"}),
        (401, {"key": "wrong"}),
        (400, {"model": server.reranker}),
    ):
        try:
            _function(server, **fields)(TEXTS)
        except Exception as error:
            assert (error.status_code, bool(error.body["message"])) == (status, True), error
        else:
            raise AssertionError(f"{fields} was accepted")


def retry_on_429(server):
    server.make_busy()
    _close(_function(server, server.busy_url)(TEXTS), server.vectors(TEXTS, inputType="document"))
