# requirements: langchain-voyageai==0.4.1
# dialect: Voyage
# title: LangChain VoyageAIRerank
"""LangChain's reranker of Voyage. Its embeddings fetch a tokenizer from the hub, so they are not tried."""

import voyageai.error
from langchain_core.documents import Document
from langchain_voyageai import VoyageAIRerank

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


def _reranker(server, key=None) -> VoyageAIRerank:
    return VoyageAIRerank(model=server.reranker, api_key=key or server.key, base_url=f"{server.url}/v1", top_k=2)


def rerank(server) -> None:
    documents = [Document(page_content=text) for text in DOCUMENTS]
    found = _reranker(server).compress_documents(documents, QUERY)
    assert len(found) == 2
    _check_scores([(DOCUMENTS.index(one.page_content), one.metadata["relevance_score"]) for one in found], server)


def errors(server) -> None:
    documents = [Document(page_content=text) for text in DOCUMENTS]
    _raises(voyageai.error.AuthenticationError, lambda: _reranker(server, "wrong").compress_documents(documents, QUERY))
