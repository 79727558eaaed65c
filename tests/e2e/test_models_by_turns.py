"""More models than fit into memory, on the embedded Triton with workers: all are answered, and the limit holds."""

import random

import httpx
import numpy as np
import psutil
import pytest

from model_copies import copy_models
from processes import MINILM, serve

pytestmark = [pytest.mark.slow, pytest.mark.alone]

LIMIT_MIB = 600  # two models of 286 MiB by the estimate
TEXTS = ["a river", "the market fell", "two red apples on a table"]


def graph_processes(server) -> list[psutil.Process]:
    return server.children("triton_python_backend_stub")


def test_three_models_take_turns_in_the_room_of_two(server, stored, tmp_path):
    """Requests in a random order, to two workers: right vectors, no error, and two processes at most."""
    truth = np.array(server.embed(TEXTS).json()["embeddings"])
    names = copy_models(stored / "repository", tmp_path / "repository", MINILM, 3)
    flags = ("--workers=2", f"--model-memory={LIMIT_MIB}MiB", "--load-on-demand=true")
    with serve(tmp_path, *flags) as many:
        many.wait_until_ready()
        most = 0
        with httpx.Client(base_url=many.inference, timeout=120) as one, httpx.Client(base_url=many.inference) as two:
            order = [*names, *random.Random(7).choices(names, k=5)]
            for turn, name in enumerate(order):
                client = (one, two)[turn % 2]
                answer = client.post("/embed_text", json={"name": name, "text": TEXTS}, timeout=120)
                assert answer.status_code == 200, answer.text
                assert np.abs(np.array(answer.json()["embeddings"]) - truth).max() < 1e-5
                found = [process.memory_info().rss for process in graph_processes(many)]
                most = max(most, len(found))
                assert sum(found) < LIMIT_MIB * 1024**2
            assert most == 2
            text = one.get("/metrics", headers={"Accept": "text/plain"}).text
            assert 'ingrain_model_moves_total{reason="room"}' in text
            body = {"model": order[-1], "input": TEXTS[0], "keep_alive": 0}
            assert two.post("/api/embed", json=body, timeout=120).status_code == 200
            many.wait_until(lambda: len(graph_processes(many)) == 1, 60)
        listed = httpx.get(f"{many.model}/loaded_models").json()["models"]
        assert [100 < model["memoryBytes"] / 1024**2 < 300 for model in listed] == [True]
