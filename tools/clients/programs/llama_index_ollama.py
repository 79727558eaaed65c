# requirements: llama-index-embeddings-ollama==0.10.0 ollama==0.6.3
# dialect: Ollama
# title: llama-index-embeddings-ollama
"""LlamaIndex's embeddings of Ollama."""

import asyncio

import ollama
from llama_index.embeddings.ollama import OllamaEmbedding

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "Stocks fell."]


def _embedding(server, **fields) -> OllamaEmbedding:
    given = {"model_name": server.dense, **fields}
    headers = {"Authorization": f"Bearer {server.key}"}
    return OllamaEmbedding(base_url=server.url, client_kwargs={"headers": headers}, **given)


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def embed(server) -> None:
    _check([_embedding(server).get_query_embedding(TEXTS[0])], server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_embedding(server, embed_batch_size=2).get_text_embedding_batch(TEXTS), server.vectors(TEXTS))
    found = asyncio.run(_embedding(server).aget_text_embedding_batch(TEXTS))
    _check(found, server.vectors(TEXTS))


def errors(server) -> None:
    try:
        _embedding(server, model_name="none").get_text_embedding("x")
    except ollama.ResponseError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("an unknown model was accepted")
