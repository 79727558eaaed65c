# requirements: chromadb==1.5.9 pillow==13.0.0
# dialect: Jina
# title: Chroma JinaEmbeddingFunction
"""Chroma's class for Jina. It takes no base URL: the address is one of its attributes."""

import os

from chromadb.utils.embedding_functions import JinaEmbeddingFunction

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"]


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def _raises(kind, call, words="") -> None:
    try:
        call()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def _function(server, key=None, **fields) -> JinaEmbeddingFunction:
    os.environ["JINA_API_KEY"] = key or server.key
    function = JinaEmbeddingFunction(**{"model_name": server.dense, **fields})
    function._api_url = f"{server.url}/v1/embeddings"
    return function


def embed(server) -> None:
    _check(_function(server)(TEXTS[:1]), server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_function(server)(TEXTS), server.vectors(TEXTS))
    _check(_function(server, normalized=False)(TEXTS), server.vectors(TEXTS, normalize=False))


def dimensions(server) -> None:
    _check(_function(server, dimensions=64)(TEXTS), server.vectors(TEXTS, nDims=64))


def errors(server) -> None:
    _raises(Exception, lambda: _function(server, model_name="absent")(TEXTS), "absent")
    _raises(Exception, lambda: _function(server, late_chunking=True)(TEXTS), "late_chunking")
    _raises(Exception, lambda: _function(server, key="wrong")(TEXTS), "key")
