# requirements: cohere==7.3.1
# dialect: Cohere
# title: cohere ClientV2
"""Cohere's own client of version 2."""

import base64 as encoding
import struct

import cohere
import cohere.errors

TEXTS = ["a red apple", "how do I reset my password?", ""]
DOCUMENTS = ["the weather is fine today", "an apple is a fruit", "click on forgot password"]
QUERY = "which fruit is red?"
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAYAAAAECAIAAAAiZtkUAAAAI"
    "ElEQVR4nGNkYGDQQEUsDDYMDAxcyAguJAJHyEJyEAQAY6QCjimB6fsAAAAASUVORK5CYII="
)


def _client(server, url=None):
    return cohere.ClientV2(server.key, base_url=url or server.url)


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    answer = _client(server).embed(
        texts=TEXTS[:1], model=server.dense, input_type="search_query", embedding_types=["float"]
    )
    _close(answer.embeddings.float_, server.vectors(TEXTS[:1], inputType="query"))
    assert answer.texts == TEXTS[:1]
    assert answer.meta.billed_units.input_tokens > 2


def batch(server):
    answer = _client(server).embed(texts=TEXTS, model=server.dense, input_type="search_document", truncate="END")
    _close(answer.embeddings.float_, server.vectors(TEXTS, inputType="document"))


def base64(server):
    answer = _client(server).embed(
        texts=TEXTS, model=server.dense, input_type="search_document", embedding_types=["base64", "float"]
    )
    for text, numbers in zip(answer.embeddings.base64, answer.embeddings.float_, strict=True):
        _close([struct.unpack(f"<{len(numbers)}f", encoding.b64decode(text))], [numbers])


def dimensions(server):
    answer = _client(server).embed(
        texts=TEXTS, model=server.dense, input_type="search_document", output_dimension=64, embedding_types=["float"]
    )
    _close(answer.embeddings.float_, server.vectors(TEXTS, inputType="document", nDims=64))


def types(server):
    kinds = ["float", "int8", "uint8", "binary", "ubinary"]
    found = (
        _client(server)
        .embed(texts=TEXTS, model=server.dense, input_type="search_document", embedding_types=kinds)
        .embeddings
    )
    for kind in kinds[1:]:
        assert getattr(found, kind) == server.vectors(TEXTS, inputType="document", outputDtype=kind), kind


def rerank(server):
    answer = _client(server).rerank(model=server.reranker, query=QUERY, documents=DOCUMENTS, top_n=2)
    scores = server.scores(QUERY, DOCUMENTS)
    best = sorted(range(len(scores)), key=lambda place: -scores[place])[:2]
    assert [one.index for one in answer.results] == best
    assert all(abs(one.relevance_score - scores[one.index]) < 1e-6 for one in answer.results)


def images(server):
    answer = _client(server).embed(images=[IMAGE], model=server.clip, input_type="image", embedding_types=["float"])
    parts = [{"content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]
    same = _client(server).embed(inputs=parts, model=server.clip, input_type="image", embedding_types=["float"])
    assert len(answer.embeddings.float_[0]) > 8
    _close(same.embeddings.float_, answer.embeddings.float_)


def models(server):
    client = cohere.Client(server.key, base_url=server.url)
    names = [model.name for model in client.models.list(endpoint="embed").models]
    assert server.dense in names
    assert server.reranker not in names
    assert client.models.get(server.dense).endpoints == ["embed"]


def errors(server):
    wrong = [
        (cohere.errors.NotFoundError, {"model": "no-such-model"}, server.key),
        (cohere.errors.UnauthorizedError, {}, "wrong"),
        (cohere.errors.BadRequestError, {"truncate": "NONE", "texts": ["word " * 4000]}, server.key),
        (cohere.errors.BadRequestError, {"model": server.reranker}, server.key),
        (cohere.errors.BadRequestError, {"embedding_types": ["bits"]}, server.key),
    ]
    for kind, fields, key in wrong:
        given = {"texts": TEXTS, "model": server.dense, "input_type": "search_query", **fields}
        try:
            cohere.ClientV2(key, base_url=server.url).embed(**given)
        except kind as error:
            assert all(error.body[name] for name in ("id", "message")), error.body
        else:
            raise AssertionError(f"{fields} was accepted")


def retry_on_429(server):
    server.make_busy()
    answer = _client(server, server.busy_url).embed(texts=TEXTS, model=server.dense, input_type="search_document")
    _close(answer.embeddings.float_, server.vectors(TEXTS, inputType="document"))
