# requirements: openai==3.57.0 llama-index-embeddings-nvidia==0.6.0 llama-index-postprocessor-nvidia-rerank==0.7.0
# dialect: NIM
# title: LlamaIndex NVIDIAEmbedding, NVIDIARerank
"""LlamaIndex's classes for NVIDIA's NIM."""

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.nvidia import NVIDIAEmbedding
from llama_index.postprocessor.nvidia_rerank import NVIDIARerank

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", "w1 w2"]
QUERY, DOCUMENTS = "Where is the cat?", ["The train is late.", "A cat sleeps on the sofa.", "Rain."]


def _embedding(server, **fields) -> NVIDIAEmbedding:
    options = {"model": server.dense, "api_key": server.key, "base_url": f"{server.url}/v1", **fields}
    return NVIDIAEmbedding(**options)


def _check(given, expected) -> None:
    assert len(given) == len(expected)
    for mine, theirs in zip(given, expected, strict=True):
        assert len(mine) == len(theirs)
        assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) <= 1e-6


def embed(server) -> None:
    _check([_embedding(server).get_query_embedding(TEXTS[0])], server.vectors(TEXTS[:1], inputType="query"))


def batch(server) -> None:
    found = _embedding(server, truncate="END").get_text_embedding_batch(TEXTS)
    _check(found, server.vectors(TEXTS, inputType="document"))


def rerank(server) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(place))) for place, text in enumerate(DOCUMENTS)]
    reranker = NVIDIARerank(model=server.reranker, api_key=server.key, base_url=f"{server.url}/v1", top_n=2)
    found = reranker.postprocess_nodes(nodes, QueryBundle(QUERY))
    raw = server.post("/rerank", {"name": server.reranker, "query": QUERY, "documents": DOCUMENTS, "rawScores": True})
    best = {one["index"]: one["score"] for one in raw["results"][:2]}
    assert len(found) == 2
    for one in found:
        assert abs(one.score - best[int(one.node.node_id)]) <= 1e-6


def errors(server) -> None:
    for fields, words in (({"dimensions": 9999}, "9999"), ({"api_key": "wrong"}, "401")):
        try:
            _embedding(server, **fields).get_query_embedding(TEXTS[0])
        except Exception as error:
            assert words in str(error), error
        else:
            raise AssertionError(f"{fields} was accepted")
