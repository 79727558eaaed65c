# requirements: langchain-community==0.4.2 infinity_client==0.0.78
# dialect: Infinity
# title: LangChain InfinityEmbeddings, InfinityRerank
"""LangChain's classes for Infinity. Its embeddings know no API key: it goes into the URL, as a password."""

import asyncio

from infinity_client import Client
from langchain_community.document_compressors import InfinityRerank
from langchain_community.embeddings import InfinityEmbeddings
from langchain_core.documents import Document

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"]
QUERY, DOCUMENTS = "Where is the cat?", ["The train is late.", "A cat sleeps on the sofa.", "Rain."]


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def _check_scores(given, server, expected=None) -> None:
    """Compare pairs of index and score, best first, with the scores by Ingrain's own API."""
    scores = server.scores(QUERY, DOCUMENTS) if expected is None else expected
    best = sorted(range(len(scores)), key=lambda place: -scores[place])[: len(given)]
    assert sorted(scores[index] for index, _ in given) == sorted(scores[index] for index in best)
    assert all(abs(score - scores[index]) <= 1e-6 for index, score in given)


def _raises(kind, call, words="") -> None:
    try:
        call()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def _embeddings(server, **fields) -> InfinityEmbeddings:
    url = server.url.replace("://", f"://any:{fields.pop('key', server.key)}@")
    return InfinityEmbeddings(infinity_api_url=url, **{"model": server.dense, **fields})


def embed(server) -> None:
    _check([_embeddings(server).embed_query(TEXTS[0])], server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_embeddings(server).embed_documents(TEXTS), server.vectors(TEXTS))
    _check(asyncio.run(_embeddings(server).aembed_documents(TEXTS)), server.vectors(TEXTS))


def rerank(server) -> None:
    client = Client(base_url=server.url, headers={"Authorization": f"Bearer {server.key}"})
    found = InfinityRerank(client=client, model=server.reranker, top_n=2).compress_documents(
        [Document(page_content=text) for text in DOCUMENTS], QUERY
    )
    assert len(found) == 2
    _check_scores([(DOCUMENTS.index(one.page_content), one.metadata["relevance_score"]) for one in found], server)


def errors(server) -> None:
    _raises(Exception, lambda: _embeddings(server, model="absent").embed_documents(TEXTS), "404")
    _raises(Exception, lambda: _embeddings(server, key="wrong").embed_documents(TEXTS), "401")
