# requirements: ollama==0.6.3
# dialect: Ollama
# title: ollama (Python)
"""Ollama's own client, the one that waits and the one for asyncio."""

import asyncio

import ollama

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", ""]


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _client(url: str, key: str) -> ollama.Client:
    return ollama.Client(host=url, headers=_headers(key))


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def embed(server) -> None:
    answer = _client(server.url, server.key).embed(model=server.dense, input=TEXTS[0])
    _check(answer.embeddings, server.vectors(TEXTS[:1]))
    assert answer.prompt_eval_count == 9
    assert answer.total_duration > 0
    tagged = _client(server.url, server.key).embed(model=f"{server.dense}:latest", input=TEXTS[0])
    _check(tagged.embeddings, server.vectors(TEXTS[:1]))


def batch(server) -> None:
    async def _batch():
        return await ollama.AsyncClient(host=server.url, headers=_headers(server.key)).embed(
            model=server.dense, input=TEXTS, keep_alive="5m", options={"num_ctx": 4096}
        )

    expected = server.vectors(TEXTS)
    _check(_client(server.url, server.key).embed(model=server.dense, input=TEXTS).embeddings, expected)
    _check(asyncio.run(_batch()).embeddings, expected)


def dimensions(server) -> None:
    answer = _client(server.url, server.key).embed(model=server.dense, input=TEXTS, dimensions=64)
    _check(answer.embeddings, server.vectors(TEXTS, nDims=64))


def embeddings(server) -> None:
    answer = _client(server.url, server.key).embeddings(model=server.dense, prompt=TEXTS[1])
    _check([answer.embedding], server.vectors(TEXTS[1:2], normalize=False))


def errors(server) -> None:
    client = _client(server.url, server.key)
    long = "word " * 300
    for status, words, call in (
        (404, "try pulling it first", lambda: client.embed(model="none", input="x")),
        (400, "exceeds the context length", lambda: client.embed(model=server.dense, input=long, truncate=False)),
        (400, "does not support chat", lambda: client.chat(model=server.dense, messages=[])),
        (401, "key", lambda: _client(server.url, "wrong").list()),
    ):
        try:
            call()
        except ollama.ResponseError as error:
            assert error.status_code == status, error
            assert words in error.error, error
        else:
            raise AssertionError(f"no error with {words!r}")


def models(server) -> None:
    client = _client(server.url, server.key)
    names = [model.model for model in client.list().models]
    assert f"{server.dense}:latest" in names
    assert [model.model for model in client.ps().models] == names
    shown = client.show(server.dense)
    assert shown.capabilities == ["embedding"]
    assert shown.modelinfo["bert.embedding_length"] == 384


def pull(server) -> None:
    client = _client(server.model_url, server.key)
    steps = [step.status for step in client.pull(server.dense, stream=True)]
    assert (steps[0], steps[-1]) == ("pulling manifest", "success")
    assert client.pull(server.dense).status == "success"
