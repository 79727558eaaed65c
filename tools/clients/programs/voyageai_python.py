# requirements: voyageai==0.5.0
# dialect: Voyage
# title: voyageai (Python)
"""The client library of Voyage."""

import voyageai
import voyageai.error

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


def _client(server, url=None, key=None, retries=0) -> voyageai.Client:
    return voyageai.Client(api_key=key or server.key, base_url=f"{url or server.url}/v1", max_retries=retries)


def embed(server) -> None:
    answer = _client(server).embed(TEXTS[:1], model=server.dense, input_type="query")
    _check(answer.embeddings, server.vectors(TEXTS[:1], inputType="query"))
    assert answer.total_tokens > 0


def batch(server) -> None:
    """The client asks for base64 by itself."""
    _check(_client(server).embed(TEXTS, model=server.dense, input_type="document").embeddings, server.vectors(TEXTS))


base64 = batch


def dimensions(server) -> None:
    client = _client(server)
    answer = client.embed(TEXTS, model=server.dense, output_dimension=64)
    _check(answer.embeddings, server.vectors(TEXTS, nDims=64))
    for dtype in ("int8", "ubinary"):
        answer = client.embed(TEXTS, model=server.dense, output_dtype=dtype)
        _check(answer.embeddings, server.vectors(TEXTS, outputDtype=dtype))


def rerank(server) -> None:
    client = _client(server)
    answer = client.rerank(QUERY, DOCUMENTS, model=server.reranker)
    _check_scores([(one.index, one.relevance_score) for one in answer.results], server)
    assert len(client.rerank(QUERY, DOCUMENTS, model=server.reranker, top_k=1).results) == 1


def images(server) -> None:
    import PIL.Image

    inputs = [["red"], [PIL.Image.new("RGB", (40, 30), "red")]]
    answer = _client(server).multimodal_embed(inputs, model=server.clip)
    _check(answer.embeddings[:1], server.vectors(["red"], name=server.clip))
    assert len(answer.embeddings) == 2


def errors(server) -> None:
    client, errors = _client(server), voyageai.error
    _raises(errors.APIError, lambda: client.embed(TEXTS, model="absent"), "absent")
    _raises(errors.InvalidRequestError, lambda: client.embed(TEXTS, model=server.dense, output_dimension=9999), "9999")
    _raises(errors.InvalidRequestError, lambda: client.rerank(QUERY, DOCUMENTS, model="absent"), "absent")
    _raises(errors.AuthenticationError, lambda: _client(server, key="wrong").embed(TEXTS, model=server.dense))


def retry_on_429(server) -> None:
    busy = _client(server, server.busy_url)
    server.make_busy()
    _raises(voyageai.error.RateLimitError, lambda: busy.embed(TEXTS, model=server.dense))
    server.make_busy()
    answer = _client(server, server.busy_url, retries=3).embed(TEXTS, model=server.dense)
    _check(answer.embeddings, server.vectors(TEXTS))
