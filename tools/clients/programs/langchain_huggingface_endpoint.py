# requirements: langchain-huggingface==1.2.1 huggingface_hub==0.36.2 langchain-core==1.8.3 aiohttp==3.14.5 numpy==2.4.6
# dialect: TEI
# title: langchain-huggingface HuggingFaceEndpointEmbeddings
"""LangChain's embeddings of an endpoint. 1.2.1 is the last version whose ``model`` may be a URL."""

import asyncio

from huggingface_hub.errors import HfHubHTTPError
from langchain_huggingface import HuggingFaceEndpointEmbeddings

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]


def _embeddings(server, **fields):
    url = f"{server.url}/tei/{server.dense}"
    return HuggingFaceEndpointEmbeddings(model=url, huggingfacehub_api_token=server.key, model_kwargs=fields)


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    _close([_embeddings(server).embed_query(TEXTS[0])], server.vectors(TEXTS[:1]))


def batch(server):
    _close(_embeddings(server).embed_documents(TEXTS), server.vectors(TEXTS))
    _close(asyncio.run(_embeddings(server).aembed_documents(TEXTS)), server.vectors(TEXTS))


def options(server):
    _close(_embeddings(server, normalize=False).embed_documents(TEXTS), server.vectors(TEXTS, normalize=False))


def errors(server):
    try:
        _embeddings(server).embed_query("word " * 3000)
    except HfHubHTTPError as error:
        assert error.response.status_code == 413, error
    else:
        raise AssertionError("nothing was raised")
    assert len(_embeddings(server, truncate=True).embed_query("word " * 3000)) == 384
