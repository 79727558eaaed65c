# requirements: llama-index-embeddings-text-embeddings-inference==0.6.0 llama-index-core==0.14.25
# dialect: TEI
# title: llama-index TextEmbeddingsInference
"""LlamaIndex's embeddings of text-embeddings-inference."""

import asyncio

from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]


def _embeddings(server, **fields):
    return TextEmbeddingsInference(
        model_name=server.dense,
        base_url=f"{server.url}/tei/{server.dense}",
        auth_token=server.key,
        text_instruction="",
        query_instruction="",
        **fields,
    )


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    _close([_embeddings(server).get_text_embedding(TEXTS[0])], server.vectors(TEXTS[:1]))


def batch(server):
    found = _embeddings(server, embed_batch_size=2).get_text_embedding_batch(TEXTS)
    _close(found, server.vectors(TEXTS))
    found = asyncio.run(_embeddings(server).aget_text_embedding_batch(TEXTS))
    _close(found, server.vectors(TEXTS))


def options(server):
    assert len(_embeddings(server, truncate_text=True).get_text_embedding("word " * 3000)) == 384
