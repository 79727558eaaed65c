# requirements: langchain-nvidia-ai-endpoints==1.5.0
# dialect: NIM
# title: LangChain NVIDIAEmbeddings, NVIDIARerank
"""LangChain's classes for NVIDIA's NIM."""

import asyncio

from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings, NVIDIARerank

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


def _embeddings(server, **fields) -> NVIDIAEmbeddings:
    options = {"model": server.dense, "api_key": server.key, "base_url": f"{server.url}/v1", **fields}
    return NVIDIAEmbeddings(usage_telemetry_enabled=False, **options)


def embed(server) -> None:
    _check([_embeddings(server).embed_query(TEXTS[0])], server.vectors(TEXTS[:1], inputType="query"))


def batch(server) -> None:
    expected = server.vectors(TEXTS, inputType="document")
    _check(_embeddings(server, truncate="END").embed_documents(TEXTS), expected)
    _check(asyncio.run(_embeddings(server).aembed_documents(TEXTS)), expected)


def dimensions(server) -> None:
    _check(_embeddings(server, dimensions=64).embed_documents(TEXTS), server.vectors(TEXTS, nDims=64))


def rerank(server) -> None:
    reranker = NVIDIARerank(
        model=server.reranker, api_key=server.key, base_url=f"{server.url}/v1", usage_telemetry_enabled=False
    )
    found = reranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    raw = server.post("/rerank", {"name": server.reranker, "query": QUERY, "documents": DOCUMENTS, "rawScores": True})[
        "results"
    ]
    logits = [one["score"] for one in sorted(raw, key=lambda one: one["index"])]
    given = [(DOCUMENTS.index(one.page_content), one.metadata["relevance_score"]) for one in found]
    _check_scores(given, server, logits)


def errors(server) -> None:
    _raises(Exception, lambda: _embeddings(server, dimensions=9999).embed_query(TEXTS[0]), "9999")
    _raises(Exception, lambda: _embeddings(server, api_key="wrong").embed_query(TEXTS[0]), "401")


def models(server) -> None:
    assert server.dense in [model.id for model in _embeddings(server).available_models]
