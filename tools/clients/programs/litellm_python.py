# requirements: litellm==1.110.2
# dialect: several
# title: litellm (Python)
"""LiteLLM, which speaks the APIs of many providers."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

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


litellm.suppress_debug_info = True


def _embed(server, provider, path, texts, url=None, **fields):
    options = {"model": f"{provider}/{server.dense}", "api_key": server.key, "max_retries": 0, **fields}
    answer = litellm.embedding(input=texts, api_base=(url or server.url) + path, **options)
    return [one["embedding"] for one in answer.data]


def embed(server) -> None:
    _check(_embed(server, "openai", "/v1", TEXTS[:1]), server.vectors(TEXTS[:1]))


def batch(server) -> None:
    """The same texts by each provider that this dialect's neighbours stand for."""
    expected = server.vectors(TEXTS)
    for provider, path in (
        ("openai", "/v1"),
        ("hosted_vllm", "/v1"),
        ("lm_studio", "/v1"),
        ("jina_ai", "/v1"),
        ("voyage", "/v1/embeddings"),
        ("infinity", ""),
        ("nvidia_nim", "/v1"),
    ):
        _check(_embed(server, provider, path, TEXTS), expected)
    _check(_embed(server, "azure", "", TEXTS, api_version="2024-10-21"), expected)


def base64(server) -> None:
    found = _embed(server, "openai", "/v1", TEXTS, encoding_format="base64")
    import struct
    from base64 import b64decode

    raw = [b64decode(one) if isinstance(one, str) else struct.pack(f"<{len(one)}f", *one) for one in found]
    _check([struct.unpack(f"<{len(bytes_) // 4}f", bytes_) for bytes_ in raw], server.vectors(TEXTS))


def dimensions(server) -> None:
    fields = {"dimensions": 64, "allowed_openai_params": ["dimensions"]}
    for provider, path in (("openai", "/v1"), ("hosted_vllm", "/v1"), ("jina_ai", "/v1")):
        _check(_embed(server, provider, path, TEXTS, **fields), server.vectors(TEXTS, nDims=64))


def rerank(server) -> None:
    for provider, path in (
        ("jina_ai", ""),
        ("hosted_vllm", ""),
        ("infinity", "/infinity"),
        ("voyage", "/v1"),
        ("cohere", ""),
    ):
        answer = litellm.rerank(
            model=f"{provider}/{server.reranker}",
            query=QUERY,
            documents=DOCUMENTS,
            top_n=2,
            api_key=server.key,
            api_base=server.url + path,
        )
        assert len(answer.results) == 2
        _check_scores([(one["index"], one["relevance_score"]) for one in answer.results], server)


def errors(server) -> None:
    _raises(litellm.NotFoundError, lambda: _embed(server, "openai", "/v1", TEXTS, model="openai/absent"), "absent")
    long = {"dimensions": 9999, "allowed_openai_params": ["dimensions"]}
    _raises(litellm.BadRequestError, lambda: _embed(server, "openai", "/v1", TEXTS, **long), "9999")
    _raises(litellm.AuthenticationError, lambda: _embed(server, "openai", "/v1", TEXTS, api_key="wrong"))


def retry_on_429(server) -> None:
    server.make_busy()
    _check(_embed(server, "openai", "/v1", TEXTS, server.busy_url, max_retries=2), server.vectors(TEXTS))
