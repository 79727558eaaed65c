# requirements: chromadb==1.5.9
# dialect: TEI
# title: Chroma HuggingFaceEmbeddingServer
"""Chroma's embedding function for text-embeddings-inference."""

from chromadb.utils.embedding_functions import HuggingFaceEmbeddingServer

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]


def _embed(server, texts):
    function = HuggingFaceEmbeddingServer(url=f"{server.url}/tei/{server.dense}/embed", api_key=server.key)
    return function(texts)


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    _close(_embed(server, TEXTS[:1]), server.vectors(TEXTS[:1]))


def batch(server):
    _close(_embed(server, TEXTS), server.vectors(TEXTS))
