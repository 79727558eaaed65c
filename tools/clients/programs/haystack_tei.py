# requirements: haystack-ai==3.4.1 huggingface-api-haystack==3.1.0 huggingface_hub==2.4.0
# dialect: TEI
# title: Haystack TEI embedders and ranker
"""Haystack's components for text-embeddings-inference. Its embedders ask for vectors without normalization."""

import math

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
    HuggingFaceTEISparseTextEmbedder,
)
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]
QUERY = "which fruit is red?"


def _options(server, **fields):
    return {
        "api_type": "text_embeddings_inference",
        "api_params": {"url": f"{server.url}/tei/{server.dense}"},
        "token": Secret.from_token(server.key),
        **fields,
    }


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    found = HuggingFaceAPITextEmbedder(**_options(server)).run(text=TEXTS[0])["embedding"]
    _close([found], server.vectors(TEXTS[:1], normalize=False))


def batch(server):
    embedder = HuggingFaceAPIDocumentEmbedder(**_options(server, batch_size=2, progress_bar=False))
    done = embedder.run(documents=[Document(content=text) for text in TEXTS])["documents"]
    _close([document.embedding for document in done], server.vectors(TEXTS, normalize=False))


def sparse(server):
    url = f"{server.url}/tei/{server.sparse}"
    embedder = HuggingFaceTEISparseTextEmbedder(api_base_url=url, token=Secret.from_token(server.key))
    found = embedder.run(text=TEXTS[0])["sparse_embedding"]
    assert found.indices and len(found.indices) == len(found.values)


def _rank(server, url):
    # The ranker takes only the host of its URL, so that the server's default reranker answers.
    ranker = HuggingFaceTEIRanker(url=url, token=Secret.from_token(server.key), max_retries=3)
    done = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])["documents"]
    return {document.content: document.score for document in done}


def rerank(server):
    found, scores = _rank(server, server.url), server.scores(QUERY, TEXTS)
    if not all(0 <= score <= 1 for score in scores):  # TEI always gives probabilities, the model itself logits
        scores = [1 / (1 + math.exp(-score)) for score in scores]
    assert all(abs(found[text] - score) < 1e-5 for text, score in zip(TEXTS, scores, strict=True)), (found, scores)


def retry_on_429(server):
    server.make_busy()
    assert len(_rank(server, server.busy_url)) == len(TEXTS)


def errors(server):
    try:
        HuggingFaceTEIRanker(url=server.url, token=Secret.from_token(server.key), max_retries=1).run(
            query=QUERY, documents=[Document(content="word " * 3000)]
        )
    except RuntimeError as error:
        assert "413" in str(error) and "must have at most" in str(error), error
    else:
        raise AssertionError("nothing was raised")
