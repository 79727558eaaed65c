# requirements: llama-index-postprocessor-tei-rerank==0.6.0 llama-index-core==0.14.25
# dialect: TEI
# title: llama-index TEI reranker
"""LlamaIndex's reranker by text-embeddings-inference."""

import math

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

DOCUMENTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def rerank(server):
    reranker = TextEmbeddingInference(
        base_url=f"{server.url}/tei/{server.reranker}", auth_token=f"Bearer {server.key}", top_n=3
    )
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in DOCUMENTS]
    found = {one.node.get_content(): one.score for one in reranker.postprocess_nodes(nodes, QueryBundle(QUERY))}
    scores = server.scores(QUERY, DOCUMENTS)
    if not all(0 <= score <= 1 for score in scores):  # TEI always gives probabilities, the model itself logits
        scores = [1 / (1 + math.exp(-score)) for score in scores]
    assert all(abs(found[text] - score) < 1e-5 for text, score in zip(DOCUMENTS, scores, strict=True)), (found, scores)
    assert list(found.values()) == sorted(found.values(), reverse=True)
