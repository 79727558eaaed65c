# requirements: mixedbread==0.54.0
# dialect: Mixedbread
# title: mixedbread (Python)
"""The client library of Mixedbread."""

import struct
from base64 import b64decode

import mixedbread

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


def _client(server, url=None, key=None, retries=0) -> mixedbread.Mixedbread:
    return mixedbread.Mixedbread(api_key=key or server.key, base_url=url or server.url, max_retries=retries)


def _embed(server, texts, url=None, retries=0, **fields):
    answer = _client(server, url, retries=retries).embed(**{"model": server.dense, "input": texts, **fields})
    return [one.embedding for one in answer.data]


def embed(server) -> None:
    _check(_embed(server, TEXTS[0]), server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_embed(server, TEXTS), server.vectors(TEXTS))
    _check(_embed(server, TEXTS, normalized=False), server.vectors(TEXTS, normalize=False))
    _check(_embed(server, TEXTS, prompt="query: "), server.vectors(TEXTS, prompt="query: "))


def base64(server) -> None:
    found = [b64decode(text) for text in _embed(server, TEXTS, encoding_format="base64")]
    _check([struct.unpack(f"<{len(bytes_) // 4}f", bytes_) for bytes_ in found], server.vectors(TEXTS))


def dimensions(server) -> None:
    _check(_embed(server, TEXTS, dimensions=64), server.vectors(TEXTS, nDims=64))
    _check(_embed(server, TEXTS, encoding_format="ubinary"), server.vectors(TEXTS, outputDtype="ubinary"))
    both = _embed(server, TEXTS, encoding_format=["float", "int8"])
    _check([one.float for one in both], server.vectors(TEXTS))
    _check([one.int8 for one in both], server.vectors(TEXTS, outputDtype="int8"))


def rerank(server) -> None:
    found = _client(server).rerank(model=server.reranker, query=QUERY, input=DOCUMENTS, return_input=True)
    _check_scores([(one.index, one.score) for one in found.data], server)
    assert all(one.input == DOCUMENTS[one.index] for one in found.data)


def errors(server) -> None:
    _raises(mixedbread.NotFoundError, lambda: _embed(server, TEXTS, model="absent"), "absent")
    _raises(mixedbread.BadRequestError, lambda: _embed(server, TEXTS, dimensions=9999), "9999")
    client = _client(server)
    _raises(mixedbread.NotFoundError, lambda: client.rerank(model="absent", query=QUERY, input=DOCUMENTS), "absent")
    wrong = _client(server, key="wrong")
    _raises(mixedbread.AuthenticationError, lambda: wrong.embed(model=server.dense, input=TEXTS))


def retry_on_429(server) -> None:
    server.make_busy()
    _raises(mixedbread.RateLimitError, lambda: _embed(server, TEXTS, server.busy_url))
    server.make_busy()
    _check(_embed(server, TEXTS, server.busy_url, retries=2), server.vectors(TEXTS))
