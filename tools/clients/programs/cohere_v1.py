# requirements: cohere==5.21.1
# dialect: Cohere
# title: cohere Client (version 1)
"""Cohere's own client of version 1, in an older release that many packages need."""

import cohere
import cohere.errors

TEXTS = ["a red apple", "how do I reset my password?", ""]
DOCUMENTS = [
    {"title": "weather", "text": "it is fine today"},
    {"title": "apple", "text": "a fruit"},
    {"title": "account", "text": "click on forgot password"},
]
QUERY = "which fruit is red?"


def _client(server, url=None):
    return cohere.Client(server.key, base_url=url or server.url)


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    answer = _client(server).embed(texts=TEXTS[:1], model=server.dense, input_type="search_query")
    assert answer.response_type == "embeddings_floats"
    _close(answer.embeddings, server.vectors(TEXTS[:1], inputType="query"))


def batch(server):
    many = [f"text number {number}" for number in range(200)]  # the client sends 96 in a request
    answer = _client(server).embed(texts=many, model=server.dense, input_type="search_document")
    _close(answer.embeddings, server.vectors(many, inputType="document"))
    assert answer.texts == many
    assert answer.meta.billed_units.input_tokens > 400


def types(server):
    kinds = ["float", "int8", "ubinary"]
    many = [f"text number {number}" for number in range(100)]
    answer = _client(server).embed(texts=many, model=server.dense, input_type="search_document", embedding_types=kinds)
    _close(answer.embeddings.float_, server.vectors(many, inputType="document"))
    for kind in kinds[1:]:
        assert getattr(answer.embeddings, kind) == server.vectors(many, inputType="document", outputDtype=kind), kind


def rerank(server):
    answer = _client(server).rerank(
        query=QUERY,
        documents=DOCUMENTS,
        model=server.reranker,
        rank_fields=["title", "text"],
        return_documents=True,
        top_n=2,
    )
    scores = server.scores(QUERY, [f"{one['title']}\n{one['text']}" for one in DOCUMENTS])
    best = sorted(range(len(scores)), key=lambda place: -scores[place])[:2]
    assert [one.index for one in answer.results] == best
    for one in answer.results:
        assert abs(one.relevance_score - scores[one.index]) < 1e-6
        assert one.document.text == DOCUMENTS[one.index]["text"]


def tokens(server):
    client = _client(server)
    answer = client.tokenize(text="a red apple", model=server.dense)
    assert len(answer.tokens) >= 3
    assert "apple" in client.detokenize(tokens=answer.tokens, model=server.dense).text


def errors(server):
    wrong = [
        (cohere.errors.NotFoundError, {"model": "no-such-model"}, server.key),
        (cohere.errors.UnauthorizedError, {}, "wrong"),
        (cohere.errors.BadRequestError, {"truncate": "NONE", "texts": ["word " * 4000]}, server.key),
        (cohere.errors.BadRequestError, {"model": server.reranker}, server.key),
    ]
    for kind, fields, key in wrong:
        given = {"texts": TEXTS, "model": server.dense, "input_type": "search_query", **fields}
        try:
            cohere.Client(key, base_url=server.url).embed(**given)
        except kind as error:
            assert error.body["message"], error.body
        else:
            raise AssertionError(f"{fields} was accepted")


def retry_on_429(server):
    server.make_busy()
    answer = _client(server, server.busy_url).embed(texts=TEXTS, model=server.dense, input_type="search_document")
    _close(answer.embeddings, server.vectors(TEXTS, inputType="document"))
