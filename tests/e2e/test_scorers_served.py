"""Cross-encoders and text classifiers over HTTP: the scores and the order of the source libraries themselves."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from made_once import made_once
from processes import serve
from texts import sentences
from tiny_decoders import build_logit_scorer
from tiny_scorers import NLI, build_classifier, build_cross_encoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RERANKER, INFERENCE, DECODER = "small-reranker", "small-nli", "small-decoder"
QUERY = "where does the river run to the sea?"
DOCUMENTS = [*sentences()[:40], "", "stone", "river " * 200, "the river runs to the sea, slowly", "stone"]


@pytest.fixture(scope="module")
def models(warm, tmp_path_factory):
    """A folder with a repository of the models, converted once, and the folders that they were made of."""

    def convert(folder):
        build_cross_encoder(
            folder / "models" / RERANKER, prompts={"web": "find: ", "plain": ""}, default_prompt_name="web", seed=3
        )
        build_classifier(folder / "models" / INFERENCE, "RoBERTa", labels=NLI, seed=4)
        build_logit_scorer(
            folder / "models" / DECODER, prompts={"web": "Find a page", "plain": ""}, default_prompt_name="web", seed=5
        )
        with serve(folder, f"--local-models-dir={folder / 'models'}", INGRAIN_ENGINE="onnxruntime", **warm) as server:
            for name in (RERANKER, INFERENCE, DECODER):
                answer = server.load(name)
                assert answer.status_code == 200, answer.text

    return made_once(tmp_path_factory, "stored-scorers", convert)


@pytest.fixture(scope="module")
def server(models):
    """A server of the models."""
    flags = (f"--local-models-dir={models / 'models'}", f"--models={RERANKER},{INFERENCE},{DECODER}")
    with serve(models, *flags, INGRAIN_ENGINE="onnxruntime") as server:
        server.wait_until_ready(120)
        yield server


@pytest.fixture(scope="module")
def sources(models):
    """What the models are made of, in the source libraries."""
    import torch

    from ingrain.export.process import torchvision_shim

    torch.set_num_threads(1)
    torchvision_shim.install()
    from sentence_transformers import CrossEncoder
    from transformers import pipeline

    reranker = CrossEncoder(str(models / "models" / RERANKER), device="cpu")
    nli = str(models / "models" / INFERENCE)
    return SimpleNamespace(
        reranker=reranker,
        decoder=CrossEncoder(str(models / "models" / DECODER), device="cpu"),
        classifier=pipeline("text-classification", nli, device="cpu", top_k=None),
        zero_shot=pipeline("zero-shot-classification", nli, device="cpu"),
        cross_encoder=CrossEncoder(nli, device="cpu"),
    )


def post(server, route, name, **fields):
    answer = httpx.post(f"{server.inference}/{route}", json={"name": name, **fields}, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_documents_are_ranked_as_by_the_library(server, sources):
    """With long and empty documents, equal ones in the order of the request, and the model's default prompt."""
    wanted = sources.reranker.rank(QUERY, DOCUMENTS)
    results = post(server, "rerank", RERANKER, query=QUERY, documents=DOCUMENTS)["results"]
    np.testing.assert_allclose([one["score"] for one in results], [one["score"] for one in wanted], atol=1e-5)
    scores = dict(zip((one["corpus_id"] for one in wanted), (one["score"] for one in wanted), strict=True))
    assert [one["index"] for one in results[:10]] == [one["corpus_id"] for one in wanted[:10]]
    assert sorted(one["index"] for one in results) == list(range(len(DOCUMENTS)))
    assert all(abs(one["score"] - scores[one["index"]]) < 1e-5 for one in results)
    twins = [one["index"] for one in results if DOCUMENTS[one["index"]] == "stone"]
    assert twins == sorted(twins)


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [({"promptName": "plain"}, {"prompt_name": "plain"}), ({"prompt": "seek: "}, {"prompt": "seek: "})],
)
def test_prompts_are_the_librarys(server, sources, fields, arguments):
    pairs = [[QUERY, document] for document in DOCUMENTS[:5]]
    scores = post(server, "score", RERANKER, pairs=pairs, **fields)["scores"]
    np.testing.assert_allclose(scores, sources.reranker.predict(pairs, **arguments), atol=1e-5)


def test_raw_scores_are_logits(server, sources):
    import torch

    pairs = [[QUERY, document] for document in DOCUMENTS]
    wanted = sources.reranker.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(
        post(server, "score", RERANKER, pairs=pairs, rawScores=True)["scores"], wanted, atol=1e-4
    )
    ranked = post(server, "rerank", RERANKER, query=QUERY, documents=DOCUMENTS, rawScores=True, topN=3)["results"]
    np.testing.assert_allclose([one["score"] for one in ranked], np.sort(wanted)[::-1][:3], atol=1e-4)


def test_many_requests_at_a_time_get_their_own_scores(server, sources):
    """Pairs of all requests share batches, whatever their lengths."""
    queries = sentences()[:24]
    wanted = [sources.reranker.predict([[query, document] for document in DOCUMENTS[:12]]) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(post, server, "rerank", RERANKER, query=query, documents=DOCUMENTS[:12]) for query in queries
        ]
        for job, scores in zip(jobs, wanted, strict=True):
            results = sorted(job.result()["results"], key=lambda one: one["index"])
            np.testing.assert_allclose([one["score"] for one in results], scores, atol=1e-5)


def test_a_thousand_documents_are_ranked_while_a_short_request_is_answered(server, sources):
    many = [f"{text} {number}" for number, text in enumerate(sentences()[:40] * 25)]
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(post, server, "rerank", RERANKER, query=QUERY, documents=many, tokenCounts=True)
        short = pool.submit(post, server, "rerank", RERANKER, query="river", documents=["stone"])
        assert len(short.result()["results"]) == 1
        answer = long.result()
    assert [len(answer[key]) for key in ("results", "tokenCounts", "truncated")] == [1000] * 3
    best = answer["results"][0]
    assert best["score"] == pytest.approx(sources.reranker.predict([[QUERY, many[best["index"]]]])[0], abs=1e-5)


def test_texts_are_classified_as_by_transformers(server, sources):
    texts = ["a quick brown fox", "river", "stone " * 100]
    results = post(server, "classify_text", INFERENCE, text=texts)["results"]
    for result, wanted in zip(results, sources.classifier(texts, truncation=True), strict=True):
        assert [one["label"] for one in result] == [one["label"] for one in wanted]
        np.testing.assert_allclose([one["score"] for one in result], [one["score"] for one in wanted], atol=1e-5)
    (best,) = post(server, "classify_text", INFERENCE, text="river", topK=1)["results"]
    assert len(best) == 1


def test_pairs_are_classified_and_scored_with_all_labels(server, sources):
    pairs = [["the river runs", "it rains"], ["stone", "a stone"]]
    wanted = sources.cross_encoder.predict(pairs)
    answer = post(server, "score", INFERENCE, pairs=pairs)
    assert answer["labels"] == list(NLI)
    np.testing.assert_allclose(answer["scores"], wanted, atol=1e-4)
    first, second = zip(*pairs, strict=True)
    results = post(server, "classify_text", INFERENCE, text=first, textPair=second, rawScores=True)["results"]
    for result, row in zip(results, wanted, strict=True):
        np.testing.assert_allclose([one["score"] for one in result], np.sort(row)[::-1], atol=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_zero_shot_classification_is_that_of_transformers(server, sources, multi_label):
    texts, labels = ["the river runs to the sea", "stone " * 100], ["water", "a long label of rock", "news"]
    template = "It is about {}."
    fields = {"text": texts, "labels": labels, "hypothesisTemplate": template, "multiLabel": multi_label}
    results = post(server, "classify_text_zero_shot", INFERENCE, **fields)["results"]
    wanted = sources.zero_shot(texts, labels, hypothesis_template=template, multi_label=multi_label)
    for result, row in zip(results, wanted, strict=True):
        assert [one["label"] for one in result] == row["labels"]
        np.testing.assert_allclose([one["score"] for one in result], row["scores"], atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({}, {}),
        ({"promptName": "plain"}, {"prompt_name": "plain"}),
        ({"prompt": "Find a river"}, {"prompt": "Find a river"}),
    ],
)
def test_a_decoder_ranks_as_the_library_with_its_chat_template(server, sources, fields, arguments):
    """The prompt is the instruction of the template; long documents are cut before the template's end."""
    wanted = sources.decoder.rank(QUERY, DOCUMENTS, **arguments)
    results = post(server, "rerank", DECODER, query=QUERY, documents=DOCUMENTS, tokenCounts=True, **fields)
    ranked = results["results"]
    np.testing.assert_allclose([one["score"] for one in ranked], [one["score"] for one in wanted], atol=1e-5)
    assert [one["index"] for one in ranked[:10]] == [one["corpus_id"] for one in wanted[:10]]
    assert results["truncated"][DOCUMENTS.index("river " * 200)]


def test_a_decoder_takes_pairs_alone(server):
    answer = httpx.post(f"{server.inference}/classify_text", json={"name": DECODER, "text": "river"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "text")
    assert "POST /rerank" in answer.json()["error"]["message"]
