# requirements: cohere==7.3.1
# dialect: Cohere
# title: cohere AsyncClientV2
"""Cohere's own client for asyncio."""

import asyncio
import base64 as encoding
import struct

import cohere
import cohere.errors

TEXTS = ["a red apple", "how do I reset my password?", ""]
DOCUMENTS = ["the weather is fine today", "an apple is a fruit", "click on forgot password"]
QUERY = "which fruit is red?"


async def _embed(server, url=None, key=None, **fields):
    async with cohere.AsyncClientV2(key or server.key, base_url=url or server.url) as client:
        given = {"texts": TEXTS, "model": server.dense, "input_type": "search_document", **fields}
        return (await client.embed(**given)).embeddings


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    found = asyncio.run(_embed(server, texts=TEXTS[:1], input_type="search_query"))
    _close(found.float_, server.vectors(TEXTS[:1], inputType="query"))


def batch(server):
    _close(asyncio.run(_embed(server)).float_, server.vectors(TEXTS, inputType="document"))


def base64(server):
    found = asyncio.run(_embed(server, embedding_types=["base64"])).base64
    expected = server.vectors(TEXTS, inputType="document")
    for text, numbers in zip(found, expected, strict=True):
        _close([struct.unpack(f"<{len(numbers)}f", encoding.b64decode(text))], [numbers])


def dimensions(server):
    found = asyncio.run(_embed(server, output_dimension=64))
    _close(found.float_, server.vectors(TEXTS, inputType="document", nDims=64))


def rerank(server):
    async def run():
        async with cohere.AsyncClientV2(server.key, base_url=server.url) as client:
            return await client.rerank(model=server.reranker, query=QUERY, documents=DOCUMENTS)

    scores = server.scores(QUERY, DOCUMENTS)
    results = asyncio.run(run()).results
    assert [one.index for one in results] == sorted(range(len(scores)), key=lambda place: -scores[place])
    assert all(abs(one.relevance_score - scores[one.index]) < 1e-6 for one in results)


def errors(server):
    wrong = [
        (cohere.errors.NotFoundError, {"model": "no-such-model"}),
        (cohere.errors.UnauthorizedError, {"key": "wrong"}),
        (cohere.errors.BadRequestError, {"output_dimension": 100_000}),
    ]
    for kind, fields in wrong:
        try:
            asyncio.run(_embed(server, **fields))
        except kind as error:
            assert error.body["message"], error.body
        else:
            raise AssertionError(f"{fields} was accepted")


def retry_on_429(server):
    server.make_busy()
    found = asyncio.run(_embed(server, url=server.busy_url))
    _close(found.float_, server.vectors(TEXTS, inputType="document"))
