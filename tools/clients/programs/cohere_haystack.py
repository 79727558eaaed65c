# requirements: cohere-haystack==11.0.0 haystack-ai==3.4.1 cohere==7.3.1
# dialect: Cohere
# title: cohere-haystack
"""Haystack's integration of Cohere: embedders of texts and documents, and the ranker."""

import cohere.errors
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.embedders.cohere import CohereDocumentEmbedder, CohereTextEmbedder
from haystack_integrations.components.rankers.cohere import CohereRanker

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def _options(server, url=None, key=None):
    return {"api_key": Secret.from_token(key or server.key), "api_base_url": url or server.url}


def _documents():
    return [Document(content=text) for text in TEXTS]


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    done = CohereTextEmbedder(model=server.dense, **_options(server)).run(TEXTS[0])
    _close([done["embedding"]], server.vectors(TEXTS[:1], inputType="query"))
    assert done["meta"]["billed_units"]["input_tokens"] > 2


def _embed_documents(server, url):
    embedder = CohereDocumentEmbedder(model=server.dense, progress_bar=False, **_options(server, url))
    found = embedder.run(_documents())["documents"]
    _close([one.embedding for one in found], server.vectors(TEXTS, inputType="document"))


def batch(server):
    _embed_documents(server, server.url)


def rerank(server):
    ranker = CohereRanker(model=server.reranker, top_k=2, **_options(server))
    found = ranker.run(QUERY, _documents())["documents"]
    scores = server.scores(QUERY, TEXTS)
    best = sorted(range(len(scores)), key=lambda place: -scores[place])[:2]
    assert [one.content for one in found] == [TEXTS[place] for place in best]
    assert all(abs(one.score - scores[place]) < 1e-6 for one, place in zip(found, best, strict=True))


def errors(server):
    wrong = [
        (cohere.errors.NotFoundError, "no-such-model", server.key),
        (cohere.errors.UnauthorizedError, server.dense, "wrong"),
        (cohere.errors.BadRequestError, server.reranker, server.key),
    ]
    for kind, model, key in wrong:
        try:
            CohereTextEmbedder(model=model, **_options(server, key=key)).run("red")
        except kind as error:
            assert error.body["message"], error.body
        else:
            raise AssertionError(f"{model} was accepted")


def retry_on_429(server):
    server.make_busy()
    _embed_documents(server, server.busy_url)
