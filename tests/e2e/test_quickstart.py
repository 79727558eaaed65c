"""What the README promises to a newcomer, with the real model on the embedded Triton."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from documents import examples

pytestmark = pytest.mark.slow
SENTENCES = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The stock market fell today."]


def test_curl_of_three_sentences_ranks_the_similar_pair_first(server, source_model):
    body = json.dumps({"name": "all-MiniLM-L6-v2", "text": SENTENCES})
    url, header = f"{server.inference}/embed_text", "Content-Type: application/json"
    done = subprocess.run(["curl", "-s", url, "-H", header, "-d", body], capture_output=True, check=True)
    vectors = np.array(json.loads(done.stdout)["embeddings"])
    assert vectors.shape == (3, 384)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > max(cosines[0, 2], cosines[1, 2]) + 0.3
    assert np.abs(vectors - source_model.encode(SENTENCES)).max() < 1e-4


def test_the_examples_of_the_readme_run(server):
    """The Python block prints a cosine of the similar pair that is much the larger; the command embeds both texts."""
    environment = {**os.environ, "INGRAIN_INFERENCE_URL": server.inference, "INGRAIN_MODEL_URL": server.model}
    (block,) = examples("README.md", "python", "Try it")
    done = subprocess.run(
        [sys.executable, "-c", block], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    similar, different = map(float, done.stdout.split())
    assert similar > different + 0.3
    _, line = examples("README.md", "sh", "Try it")
    code = f'ingrain() {{ "{sys.executable}" -m ingrain "$@"; }}; {line}'
    done = subprocess.run(
        ["bash", "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert [(row["text"], len(row["embedding"])) for row in rows] == [("A cat sleeps.", 384), ("Stocks fell.", 384)]


def test_a_python_script_with_only_httpx_gets_the_same(server, source_model):
    script = (
        "import httpx, json, sys\n"
        "answer = httpx.post(sys.argv[1] + '/embed_text', json={'name': 'all-MiniLM-L6-v2', 'text': sys.argv[2:]})\n"
        "print(json.dumps(answer.raise_for_status().json()['embeddings']))\n"
    )
    command = [sys.executable, "-c", script, server.inference, *SENTENCES]
    done = subprocess.run(command, capture_output=True, check=True)
    assert np.abs(np.array(json.loads(done.stdout)) - source_model.encode(SENTENCES)).max() < 1e-4


def test_the_server_says_what_to_try(server):
    text = server.log.read_text()
    assert "Ingrain is ready" in text
    assert "curl -s" in text
    assert "/embed_text" in text


def test_metrics_are_tritons_own(server):
    import httpx

    server.embed(SENTENCES)
    (stats,) = httpx.get(f"{server.inference}/metrics").json()["modelStats"]
    assert stats["name"] == "all-MiniLM-L6-v2"
    assert int(stats["inferenceCount"]) >= 3
    assert int(stats["inferenceStats"]["compute_infer"]["ns"]) > 0
    assert any(int(batch["batchSize"]) == 3 for batch in stats["batchStats"])
