# requirements: openai==3.57.0
# dialect: Azure
# title: openai AzureOpenAI (Python)
"""OpenAI's client for Azure: deployments in the path, the key in a header of its own."""

import openai

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"]


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def _raises(kind, call, words="") -> None:
    try:
        call()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def _client(server, url=None, key=None, retries=0) -> openai.AzureOpenAI:
    return openai.AzureOpenAI(
        azure_endpoint=url or server.url, api_key=key or server.key, api_version="2024-10-21", max_retries=retries
    )


def _embed(server, texts, url=None, retries=0, **fields):
    answer = _client(server, url, retries=retries).embeddings.create(
        **{"model": server.dense, "input": texts, **fields}
    )
    return [one.embedding for one in answer.data]


def embed(server) -> None:
    _check(_embed(server, TEXTS[0], encoding_format="float"), server.vectors(TEXTS[:1]))
    client = openai.AzureOpenAI(
        azure_endpoint=server.url, azure_deployment=server.dense, api_key=server.key, api_version="2024-10-21"
    )
    answer = client.embeddings.create(model="any", input=TEXTS)
    _check([one.embedding for one in answer.data], server.vectors(TEXTS))


def batch(server) -> None:
    _check(_embed(server, TEXTS, encoding_format="float"), server.vectors(TEXTS))


def base64(server) -> None:
    """The client asks for base64 by itself."""
    _check(_embed(server, TEXTS), server.vectors(TEXTS))


def dimensions(server) -> None:
    _check(_embed(server, TEXTS, dimensions=64), server.vectors(TEXTS, nDims=64))


def errors(server) -> None:
    _raises(openai.NotFoundError, lambda: _embed(server, TEXTS, model="absent"), "absent")
    _raises(openai.BadRequestError, lambda: _embed(server, TEXTS, dimensions=9999), "9999")
    wrong = _client(server, key="wrong").embeddings
    _raises(openai.AuthenticationError, lambda: wrong.create(model=server.dense, input=TEXTS))


def retry_on_429(server) -> None:
    server.make_busy()
    _raises(openai.RateLimitError, lambda: _embed(server, TEXTS, server.busy_url))
    server.make_busy()
    _check(_embed(server, TEXTS, server.busy_url, retries=2), server.vectors(TEXTS))
