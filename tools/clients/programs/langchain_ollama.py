# requirements: langchain-ollama==1.1.0 ollama==0.6.3
# dialect: Ollama
# title: langchain-ollama OllamaEmbeddings
"""LangChain's embeddings of Ollama."""

import asyncio

import ollama
from langchain_ollama import OllamaEmbeddings

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", ""]


def _embeddings(server, **fields) -> OllamaEmbeddings:
    given = {"model": server.dense, "validate_model_on_init": True, **fields}
    headers = {"Authorization": f"Bearer {server.key}"}
    return OllamaEmbeddings(base_url=server.url, client_kwargs={"headers": headers}, **given)


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def embed(server) -> None:
    _check([_embeddings(server).embed_query(TEXTS[0])], server.vectors(TEXTS[:1]))


def batch(server) -> None:
    options = {"num_ctx": 512, "temperature": 0.1, "keep_alive": 300}
    _check(_embeddings(server, **options).embed_documents(TEXTS), server.vectors(TEXTS))
    _check(asyncio.run(_embeddings(server).aembed_documents(TEXTS)), server.vectors(TEXTS))


def dimensions(server) -> None:
    _check(_embeddings(server, dimensions=64).embed_documents(TEXTS), server.vectors(TEXTS, nDims=64))


def errors(server) -> None:
    try:
        _embeddings(server, model="none", validate_model_on_init=False).embed_query("x")
    except ollama.ResponseError as error:
        assert error.status_code == 404
        assert error.error == 'model "none" not found, try pulling it first'
    else:
        raise AssertionError("an unknown model was accepted")
    try:
        _embeddings(server, model="none")
    except ValueError as error:
        assert "not found in Ollama" in str(error)
    else:
        raise AssertionError("the list of models has an unknown one")
