"""Our vectors are the source library's, whatever they were batched with; their quality is the model's own."""

import asyncio
import random

import httpx
import numpy as np
import pytest

from ingrain.repository.store import Repository
from processes import MINILM
from texts import articles, sentences, word_pairs

pytestmark = pytest.mark.slow


async def embed_concurrently(server, texts, clients=32):
    """Embed texts one, two or three a request, ``clients`` requests at a time, in a random order."""
    order = random.Random(5).sample(range(len(texts)), len(texts))
    groups = []
    while order:
        take = random.Random(len(order)).choice([1, 1, 1, 2, 3])
        groups.append(order[:take])
        order = order[take:]
    vectors: dict[int, list[float]] = {}
    slots = asyncio.Semaphore(clients)

    async def one(client, group):
        async with slots:
            body = {"name": MINILM, "text": [texts[index] for index in group]}
            answer = await client.post(f"{server.inference}/embed_text", json=body)
        assert answer.status_code == 200, answer.text
        vectors.update(zip(group, answer.json()["embeddings"], strict=True))

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:
        await asyncio.gather(*(one(client, group) for group in groups))
    return np.array([vectors[index] for index in range(len(texts))], np.float32)


def test_the_graph_computes_real_tokens_only(stored):
    """The form of the graph that all vectors here come from."""
    (entry,) = Repository(stored / "repository").entries()
    assert [graph.packs_tokens for graph in entry.manifest.graphs] == [True]


async def test_news_articles_and_sentences_equal_encode(server, source_model):
    """100 whole articles (cut at 256 tokens) and a sentence of each, lengths mixed, 32 requests at a time."""
    texts = articles()[::3] + sentences()[::24]
    served = await embed_concurrently(server, texts)
    truth = source_model.encode(texts, batch_size=32)
    assert len(articles()[::3]) == 100
    assert np.abs(served - truth).max() < 1e-4
    assert (served * truth).sum(axis=1).min() > 0.9999


async def test_word_similarity_is_the_models_own(server):
    """Spearman's correlation with WordSim-353 is the 0.729 that the model reaches."""
    from scipy.stats import spearmanr

    pairs = word_pairs()
    words = sorted({word for first, second, _ in pairs for word in (first, second)})
    vectors = dict(zip(words, await embed_concurrently(server, words), strict=True))
    cosines = [float(vectors[first] @ vectors[second]) for first, second, _ in pairs]
    correlation = spearmanr(cosines, [score for _, _, score in pairs]).statistic
    assert correlation == pytest.approx(0.729, abs=0.001)


async def test_one_large_request_equals_many_small_ones(server):
    texts = sentences()[:300]
    many = await embed_concurrently(server, texts)
    one = np.array(server.embed(texts).json()["embeddings"], np.float32)
    assert np.abs(many - one).max() < 1e-5


def test_unicode_and_empty_texts_equal_encode(server, source_model):
    texts = [
        "",
        " ",
        "\n",
        "日本語のテキスト",
        "Ünïcödé",
        "🙂👩‍👩‍👧‍👦",
        "مرحبا",
        "a" * 5000,
        "[CLS] [MASK]",
        "\u0000x",
        "é",
        "e\u0301",
    ]
    served = np.array(server.embed(texts).json()["embeddings"])
    assert np.abs(served - source_model.encode(texts)).max() < 1e-4
