# requirements: langchain-cohere==0.6.0 cohere==5.21.1 langchain-core==1.8.3
# dialect: Cohere
# title: langchain-cohere
"""LangChain's integration of Cohere: CohereEmbeddings and CohereRerank."""

import cohere.errors
from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_core.documents import Document

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def _embeddings(server, url=None, **fields):
    fields = {"model": server.dense, "cohere_api_key": server.key, "max_retries": 1, **fields}
    return CohereEmbeddings(base_url=url or server.url, **fields)


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    _close([_embeddings(server).embed_query(TEXTS[0])], server.vectors(TEXTS[:1], inputType="query"))


def batch(server):
    _close(_embeddings(server).embed_documents(TEXTS), server.vectors(TEXTS, inputType="document"))


def rerank(server):
    reranker = CohereRerank(model=server.reranker, cohere_api_key=server.key, base_url=server.url, top_n=2, client=None)
    documents = [Document(page_content=text) for text in TEXTS]
    found = reranker.compress_documents(documents, QUERY)
    scores = server.scores(QUERY, TEXTS)
    best = sorted(range(len(scores)), key=lambda place: -scores[place])[:2]
    assert [one.page_content for one in found] == [TEXTS[place] for place in best]
    for one, place in zip(found, best, strict=True):
        assert abs(one.metadata["relevance_score"] - scores[place]) < 1e-6


def errors(server):
    wrong = [
        (cohere.errors.NotFoundError, {"model": "no-such-model"}),
        (cohere.errors.UnauthorizedError, {"cohere_api_key": "wrong"}),
        (cohere.errors.BadRequestError, {"model": server.reranker}),
    ]
    for kind, fields in wrong:
        try:
            _embeddings(server, **fields).embed_query("red")
        except kind as error:
            assert error.body["message"], error.body
        else:
            raise AssertionError(f"{fields} was accepted")


def retry_on_429(server):
    server.make_busy()
    found = _embeddings(server, server.busy_url).embed_documents(TEXTS)
    _close(found, server.vectors(TEXTS, inputType="document"))
