# requirements: openai==3.57.0
# dialect: OpenAI
# title: openai (Python)
"""The client library of OpenAI."""

import openai

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", ""]


def _client(url: str, key: str, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries)


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def _vectors(answer) -> list[list[float]]:
    return [item.embedding for item in answer.data]


def embed(server) -> None:
    answer = _client(server.url, server.key).embeddings.create(
        model=server.dense, input=TEXTS[0], encoding_format="float"
    )
    _check(_vectors(answer), server.vectors(TEXTS[:1]))


def batch(server) -> None:
    answer = _client(server.url, server.key).embeddings.create(model=server.dense, input=TEXTS, encoding_format="float")
    _check(_vectors(answer), server.vectors(TEXTS))


def base64(server) -> None:
    answer = _client(server.url, server.key).embeddings.create(model=server.dense, input=TEXTS)
    _check(_vectors(answer), server.vectors(TEXTS))


def dimensions(server) -> None:
    answer = _client(server.url, server.key).embeddings.create(model=server.dense, input=TEXTS, dimensions=64)
    _check(_vectors(answer), server.vectors(TEXTS, nDims=64))


def errors(server) -> None:
    client = _client(server.url, server.key)
    for kind, call in (
        (openai.NotFoundError, lambda: client.embeddings.create(model="none", input="x")),
        (openai.BadRequestError, lambda: client.embeddings.create(model=server.dense, input="x", dimensions=0)),
        (openai.AuthenticationError, lambda: _client(server.url, "wrong").models.list()),
    ):
        try:
            call()
        except kind as error:
            assert error.message
        else:
            raise AssertionError(f"{kind.__name__} was not raised")


def retry_on_429(server) -> None:
    server.make_busy()
    try:
        _client(server.busy_url, server.key).embeddings.create(model=server.dense, input="x")
    except openai.RateLimitError:
        pass
    else:
        raise AssertionError("the server was not busy")
    server.make_busy()
    answer = _client(server.busy_url, server.key, retries=2).embeddings.create(model=server.dense, input=TEXTS)
    _check(_vectors(answer), server.vectors(TEXTS))


def models(server) -> None:
    names = [model.id for model in _client(server.url, server.key).models.list()]
    assert server.dense in names
