# requirements: huggingface_hub==2.4.0 numpy==2.4.6
# dialect: TEI
# title: huggingface_hub InferenceClient
"""Hugging Face's own client for endpoints of text-embeddings-inference."""

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

TEXTS = ["a red apple", "how do I reset my password?", "the weather is fine today"]


def _client(server, model, url=None):
    return InferenceClient(base_url=f"{url or server.url}/tei/{model}", api_key=server.key)


def _close(found, expected):
    assert len(found) == len(expected), (len(found), len(expected))
    for one, other in zip(found, expected, strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))


def embed(server):
    _close(_client(server, server.dense).feature_extraction(TEXTS[0]), server.vectors(TEXTS[:1]))


def batch(server):
    _close(_client(server, server.dense).feature_extraction(TEXTS), server.vectors(TEXTS))


def dimensions(server):
    found = _client(server, server.dense).feature_extraction(TEXTS, dimensions=64)
    _close(found, server.vectors(TEXTS, nDims=64))


def options(server):
    found = _client(server, server.dense).feature_extraction(
        TEXTS, normalize=False, truncate=True, truncation_direction="left"
    )
    _close(found, server.vectors(TEXTS, normalize=False))


def similarity(server):
    found = _client(server, server.dense).sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
    first, *others = server.vectors(TEXTS)
    cosines = [sum(a * b for a, b in zip(first, other, strict=True)) for other in others]
    assert all(abs(a - b) < 1e-5 for a, b in zip(found, cosines, strict=True)), (found, cosines)


def classify(server):
    found = _client(server, server.classifier).text_classification(TEXTS[0])
    scores = [one.score for one in found]
    assert found and scores == sorted(scores, reverse=True), found
    assert len(_client(server, server.classifier).text_classification(TEXTS[0], top_k=1)) == 1


def errors(server):
    for model, text, status in ((server.dense, "word " * 3000, 413), ("absent", "word", 404)):
        try:
            _client(server, model).feature_extraction(text)
        except HfHubHTTPError as error:
            assert error.response.status_code == status, error
            assert set(error.response.json()) == {"error", "error_type"}
        else:
            raise AssertionError("nothing was raised")
