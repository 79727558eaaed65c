# requirements: llama-index-embeddings-cohere==0.9.0 llama-index-postprocessor-cohere-rerank==0.10.0 cohere==5.21.1
# dialect: Cohere
# title: llama-index (Cohere)
"""LlamaIndex' integrations of Cohere.

The one for embeddings takes only Cohere's names of models, so the server has to know its model under such a name, too
(INGRAIN_MODEL_ALIASES).
"""

import cohere.errors
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.cohere import CohereEmbedding
from llama_index.postprocessor.cohere_rerank import CohereRerank

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def _embeddings(server, url=None, **fields):
    fields = {"model_name": "embed-english-v3.0", "api_key": server.key, **fields}
    return CohereEmbedding(base_url=url or server.url, **fields)


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    _close([_embeddings(server).get_query_embedding(TEXTS[0])], server.vectors(TEXTS[:1], inputType="query"))


def batch(server):
    found = _embeddings(server).get_text_embedding_batch(TEXTS)
    _close(found, server.vectors(TEXTS, inputType="document"))


def rerank(server):
    reranker = CohereRerank(model=server.reranker, api_key=server.key, base_url=server.url, top_n=2)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    found = reranker.postprocess_nodes(nodes, query_str=QUERY)
    scores = server.scores(QUERY, TEXTS)
    best = sorted(range(len(scores)), key=lambda place: -scores[place])[:2]
    assert [one.node.text for one in found] == [TEXTS[place] for place in best]
    assert all(abs(one.score - scores[place]) < 1e-6 for one, place in zip(found, best, strict=True))


def errors(server):
    wrong = [
        (cohere.errors.UnauthorizedError, {"api_key": "wrong"}, "red"),
        (cohere.errors.NotFoundError, {"model_name": "embed-multilingual-light-v3.0"}, "red"),
        (cohere.errors.BadRequestError, {"truncate": "NONE"}, "word " * 4000),
    ]
    for kind, fields, text in wrong:
        try:
            _embeddings(server, **fields).get_query_embedding(text)
        except kind as error:
            assert error.body["message"], error.body
        else:
            raise AssertionError(f"{fields} was accepted")


def retry_on_429(server):
    server.make_busy()
    found = _embeddings(server, server.busy_url).get_text_embedding_batch(TEXTS)
    _close(found, server.vectors(TEXTS, inputType="document"))
