"""Methods of both clients that rank documents and classify texts, against real planes in this process."""

import pytest

import ingrain
from planes import LABELS

DOCUMENTS = ["green", {"text": "blue", "id": 7}, "w1 w2"]


@pytest.fixture
async def scorers(planes, api):
    """The client, with a reranker and a classifier loaded."""
    await api.load_model("reranker", "sentence_transformers", task="rerank")
    await api.load_model("classifier", "sentence_transformers", task="classify")
    return api


@pytest.mark.both_clients
async def test_documents_are_ranked_and_pairs_scored(scorers):
    ranked = await scorers.rerank("reranker", "red", DOCUMENTS, return_documents=True, token_counts=True)
    assert [one.score for one in ranked.results] == sorted((one["score"] for one in ranked["results"]), reverse=True)
    assert all(one.document == DOCUMENTS[one.index] for one in ranked.results)
    assert ranked.token_counts == [5, 5, 6]
    (best,) = (await scorers.rerank("reranker", "red", iter(DOCUMENTS), top_n=1)).results
    assert (best.index, best.score) == (ranked.results[0].index, ranked.results[0].score)
    scored = await scorers.score("reranker", [("red", "green"), ("red", "blue"), ("red", "w1 w2")])
    assert scored.scores[best.index] == pytest.approx(best.score, abs=1e-6)
    several = await scorers.score("classifier", [("red", "green")])
    assert several.labels == list(LABELS)
    assert len(several.scores[0]) == len(LABELS)


@pytest.mark.both_clients
async def test_texts_are_classified_also_by_a_model_object(scorers):
    for given in ({"text": ["red", "green"]}, {"text": ["red", "green"], "text_pair": ["blue", "blue"]}):
        results = (await scorers.classify_text("classifier", **given)).results
        assert [{one.label for one in result} for result in results] == [set(LABELS)] * 2
    model = await scorers.load_model("classifier", "sentence_transformers")
    (best,) = (await model.classify_text("red", top_k=1)).results
    assert best[0].score == max(one.score for one in (await model.classify_text("red")).results[0])


async def test_the_servers_errors_are_of_the_same_classes(scorers):
    with pytest.raises(ingrain.ModalityError, match="POST /embed_text"):
        await scorers.rerank("org/model", "red", ["green"])
    with pytest.raises(ingrain.ModalityError, match="'entailment'"):
        await scorers.classify_text_zero_shot("classifier", "red", ["green"])
    with pytest.raises(ingrain.InvalidRequestError, match="Field 'labels' is not valid: expected array, got str"):
        await scorers.classify_text_zero_shot("classifier", "red", "green")
    with pytest.raises(ingrain.InvalidRequestError, match=r"Field 'pairs\[0\]' is not valid: expected array, got str"):
        await scorers.score("reranker", ("w1", "w2"))
    with pytest.raises(ingrain.TextTooLongError) as caught:
        await scorers.rerank("reranker", "red", ["w1 " * 90], truncate=False)
    assert caught.value.param == "documents[0]"
