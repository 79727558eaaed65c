# requirements: llama-index-embeddings-jinaai==0.7.0 llama-index-postprocessor-jinaai-rerank==0.6.0
# dialect: Jina
# title: LlamaIndex JinaEmbedding, JinaRerank
"""LlamaIndex's classes for Jina. Its embeddings take no base URL: the address is an attribute of what calls the API."""

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.jinaai import JinaEmbedding
from llama_index.postprocessor.jinaai_rerank import JinaRerank

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


def _embedding(server, **fields) -> JinaEmbedding:
    embedding = JinaEmbedding(**{"model": server.dense, "api_key": server.key, **fields})
    embedding._api.api_url = f"{server.url}/v1/embeddings"
    return embedding


def embed(server) -> None:
    _check([_embedding(server).get_query_embedding(TEXTS[0])], server.vectors(TEXTS[:1]))


def batch(server) -> None:
    _check(_embedding(server).get_text_embedding_batch(TEXTS), server.vectors(TEXTS))


def dimensions(server) -> None:
    _check(_embedding(server, dimensions=64).get_text_embedding_batch(TEXTS), server.vectors(TEXTS, nDims=64))
    bits = _embedding(server, encoding_documents="ubinary").get_text_embedding_batch(TEXTS)
    _check(bits, [[int(number > 0) for number in vector] for vector in server.vectors(TEXTS)])


def rerank(server) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(place))) for place, text in enumerate(DOCUMENTS)]
    reranker = JinaRerank(top_n=2, model=server.reranker, api_key=server.key, base_url=f"{server.url}/v1")
    found = reranker.postprocess_nodes(nodes, QueryBundle(QUERY))
    assert len(found) == 2
    _check_scores([(int(one.node.node_id), one.score) for one in found], server)


def errors(server) -> None:
    _raises(RuntimeError, lambda: _embedding(server, model="absent").get_query_embedding(TEXTS[0]), "absent")
    late = _embedding(server, late_chunking=True)
    _raises(RuntimeError, lambda: late.get_query_embedding(TEXTS[0]), "late_chunking")
    _raises(RuntimeError, lambda: _embedding(server, api_key="wrong").get_query_embedding(TEXTS[0]), "key")
