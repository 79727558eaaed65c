"""All models of a search on one real server: rankings are the library's own, and nothing is wrong under mixed load."""

import httpx
import numpy as np
import pytest

from chaos.kinds import ask_all_kinds
from example_scripts import run_example
from processes import MINILM, serve
from rankings import compare, news_queries, rank_by_library, rank_by_server, score_by_library
from search_models import KINDS, flag_of_models
from texts import articles, human_similarities, judged_articles, sentences_of, word_pairs
from tiny_sparse import PACKAGED_SPLADE
from torch_process import torch_pool
from trained_reranker import RERANKER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLOSE = 1e-5


@pytest.fixture(scope="module")
def search_server(search_models):
    flags = (f"--local-models-dir={search_models / 'models'}", flag_of_models())
    with serve(search_models, *flags, INGRAIN_CACHE_BYTES="0") as server:
        server.wait_until_ready(300)
        yield server


def test_news_are_ranked_as_by_the_library(search_models, search_server):
    """The short form of ``python -m compat.rankings``, which has 100 queries of 50 documents each."""
    queries = news_queries(20, 50)
    with torch_pool() as pool:
        wanted = pool.submit(rank_by_library, search_models / "models" / RERANKER, queries).result()
    found = compare(rank_by_server(search_server.inference, RERANKER, queries), wanted)
    assert found.wrong == 0, found
    assert found.same >= len(queries) - 2, found
    assert found.difference < CLOSE


def test_pairs_of_words_and_of_articles_are_scored_as_by_the_library(search_models, search_server):
    """WordSim-353 and the Lee corpus; for the latter, scores agree with people about as well as the teacher's do."""
    judged, similarities = judged_articles(), human_similarities()
    first, second = np.triu_indices(len(judged), 1)
    articles_to_score = [(judged[one], judged[other]) for one, other in zip(first, second, strict=True)][::4]
    pairs = [*((one, other) for one, other, _ in word_pairs()), *articles_to_score]
    with torch_pool() as pool:
        wanted = pool.submit(score_by_library, search_models / "models" / RERANKER, pairs).result()
    body = {"name": RERANKER, "pairs": pairs}
    answer = httpx.post(f"{search_server.inference}/score", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    scores = np.array(answer.json()["scores"])
    np.testing.assert_allclose(scores, wanted, atol=CLOSE)
    of_articles = scores[-len(articles_to_score) :]
    assert np.corrcoef(of_articles, similarities[first, second][::4])[0, 1] > 0.4


def test_a_hybrid_search_finds_the_article_of_a_sentence(search_server, tmp_path):
    """By ``examples/hybrid_search.py``, with headlines as documents."""
    news = [sentences_of(article)[0] for article in articles()[-60:]]
    file = tmp_path / "news.txt"
    file.write_text("\n".join(news), "utf-8")
    models = {"dense_model": MINILM, "sparse_model": PACKAGED_SPLADE, "reranker": RERANKER}
    query = " ".join(news[7].split()[:12])
    lines = run_example("hybrid_search.py", str(file), query, url=search_server.inference, **models)
    assert len(lines) == 5
    assert news[7][:80] in lines[0]
    assert "dense 1" in lines[0]
    assert "sparse 1" in lines[0]
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)


async def test_six_kinds_of_models_are_right_while_each_is_unloaded_and_loaded(search_server):
    """The short form of ``python -m chaos.kinds``: every answer is compared, and a client that retries gets all."""
    outcome, changes = await ask_all_kinds(search_server, seconds=0, seed=1, pause_s=0.2, least_changes=len(KINDS))
    assert changes == len(KINDS)
    assert outcome.failures({}) == []
    assert len(outcome.asked) > 100
