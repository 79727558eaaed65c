# requirements: ollama-haystack==7.0.2 haystack-ai==3.4.1 ollama==0.6.3
# dialect: Ollama
# title: ollama-haystack
"""Haystack's embedders of Ollama. They send no headers of their own; Ollama's client reads the key by itself."""

import asyncio
import os

import ollama
from haystack import Document
from haystack_integrations.components.embedders.ollama import OllamaDocumentEmbedder, OllamaTextEmbedder

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "Stocks fell."]


def _made(kind, server, **fields):
    os.environ["OLLAMA_API_KEY"] = server.key
    embedder = kind(url=server.url, **{"model": server.dense, **fields})
    embedder.warm_up()
    return embedder


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def embed(server) -> None:
    found = _made(OllamaTextEmbedder, server).run(text=TEXTS[0])
    _check([found["embedding"]], server.vectors(TEXTS[:1]))


def batch(server) -> None:
    async def _in_asyncio():
        embedder = _made(OllamaDocumentEmbedder, server)
        await embedder.warm_up_async()
        return await embedder.run_async(documents=[Document(content=text) for text in TEXTS])

    embedder = _made(OllamaDocumentEmbedder, server, batch_size=2, progress_bar=False)
    found = embedder.run(documents=[Document(content=text) for text in TEXTS])
    _check([document.embedding for document in found["documents"]], server.vectors(TEXTS))
    found = asyncio.run(_in_asyncio())
    _check([document.embedding for document in found["documents"]], server.vectors(TEXTS))


def errors(server) -> None:
    try:
        _made(OllamaTextEmbedder, server, model="none").run(text="x")
    except ollama.ResponseError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("an unknown model was accepted")
