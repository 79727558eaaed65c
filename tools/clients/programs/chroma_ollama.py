# requirements: chromadb==1.5.9 ollama==0.6.3
# dialect: Ollama
# title: Chroma OllamaEmbeddingFunction
"""Chroma's embedding function of Ollama. It sends no headers of its own; Ollama's client reads the key by itself."""

import os

import chromadb
import ollama
from chromadb.utils.embedding_functions import OllamaEmbeddingFunction

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "Stocks fell."]


def _function(server, model: str) -> OllamaEmbeddingFunction:
    os.environ["OLLAMA_API_KEY"] = server.key
    return OllamaEmbeddingFunction(url=server.url, model_name=model)


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def embed(server) -> None:
    _check(_function(server, server.dense)(TEXTS[:1]), server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_function(server, server.dense)(TEXTS), server.vectors(TEXTS))


def collection(server) -> None:
    store = chromadb.EphemeralClient().create_collection("texts", embedding_function=_function(server, server.dense))
    store.add(ids=["cat", "train", "stocks"], documents=TEXTS)
    assert store.query(query_texts=["A kitten naps."], n_results=1)["ids"] == [["cat"]]


def errors(server) -> None:
    try:
        _function(server, "none")(["x"])
    except ollama.ResponseError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("an unknown model was accepted")
