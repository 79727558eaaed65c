"""The port on which the server is an Ollama, in front of several workers."""

import json

import httpx
import numpy as np
import pytest

from processes import MINILM, free_port, serve

pytestmark = pytest.mark.slow

TEXTS = ["A cat sleeps on the sofa.", "Der Zug nach Lissabon", ""]


def test_the_main_process_serves_the_port_beside_the_workers(ready_repository):
    """It embeds as the workers do, pulls, and counts in the metrics that a worker answers with."""
    port = free_port()
    with (
        serve(ready_repository, f"--models={MINILM}", "--workers=2", f"--ollama-port={port}") as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as ollama,
    ):
        assert ollama.get("/").text == "Ollama is running"
        server.wait_until_ready()
        answer = ollama.post("/api/embed", json={"model": f"{MINILM}:latest", "input": TEXTS})
        assert answer.status_code == 200, answer.text
        expected = server.embed(TEXTS).json()["embeddings"]
        assert np.abs(np.array(answer.json()["embeddings"]) - expected).max() <= 1e-6
        with ollama.stream("POST", "/api/pull", json={"model": MINILM}) as pulled:
            assert [json.loads(line)["status"] for line in pulled.iter_lines()][-1] == "success"
        metrics = httpx.get(f"{server.inference}/metrics", headers={"Accept": "text/plain"}, timeout=60).text
        assert '/api/embed"' in metrics
        assert server.stop() == 0
