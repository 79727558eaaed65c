# requirements: infinity_client==0.0.78
# dialect: Infinity
# title: infinity_client (Python)
"""The client library of Infinity."""

from infinity_client import AuthenticatedClient
from infinity_client.api.default import classify as classify_route
from infinity_client.api.default import embeddings, models
from infinity_client.api.default import rerank as rerank_route
from infinity_client.errors import UnexpectedStatus
from infinity_client.models import (
    ClassifyInput,
    OpenAIEmbeddingInputImage,
    OpenAIEmbeddingInputText,
    RerankInput,
)

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


def _client(server, key=None, url=None) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=url or server.url, token=key or server.key, raise_on_unexpected_status=True)


def _embed(server, texts, key=None, url=None, **fields):
    body = OpenAIEmbeddingInputText(input_=texts, **{"model": server.dense, **fields})
    return [one.embedding for one in embeddings.sync(client=_client(server, key, url), body=body).data]


def embed(server) -> None:
    _check(_embed(server, TEXTS[0]), server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_embed(server, TEXTS), server.vectors(TEXTS))
    _check(_embed(server, TEXTS, model="default/not-specified"), server.vectors(TEXTS))


def dimensions(server) -> None:
    _check(_embed(server, TEXTS, dimensions=64), server.vectors(TEXTS, nDims=64))


def images(server) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
    picture = f"data:image/png;base64,{pixel}"
    body = OpenAIEmbeddingInputImage(input_=[picture], model=server.clip)
    answer = embeddings.sync(client=_client(server), body=body)
    expected = server.post("/embed_image", {"name": server.clip, "image": [picture]})["embeddings"]
    _check([one.embedding for one in answer.data], expected)


def rerank(server) -> None:
    body = RerankInput(query=QUERY, documents=DOCUMENTS, model=server.reranker, return_documents=True)
    found = rerank_route.sync(client=_client(server), body=body).results
    _check_scores([(one.index, one.relevance_score) for one in found], server)
    assert all(one.document == DOCUMENTS[one.index] for one in found)


def classify(server) -> None:
    body = ClassifyInput(input_=TEXTS, model=server.classifier)
    found = classify_route.sync(client=_client(server), body=body).data
    expected = server.post("/classify_text", {"name": server.classifier, "text": TEXTS})["results"]
    for mine, theirs in zip(found, expected, strict=True):
        assert [one.label for one in mine] == [one["label"] for one in theirs]
        assert all(abs(a.score - b["score"]) <= 1e-6 for a, b in zip(mine, theirs, strict=True))


def errors(server) -> None:
    _raises(UnexpectedStatus, lambda: _embed(server, TEXTS, model="absent"), "404")
    _raises(UnexpectedStatus, lambda: _embed(server, TEXTS, dimensions=9999), "400")
    _raises(UnexpectedStatus, lambda: _embed(server, TEXTS, key="wrong"), "401")


def listed(server) -> None:
    assert server.dense in [model.id for model in models.sync(client=_client(server)).data]
