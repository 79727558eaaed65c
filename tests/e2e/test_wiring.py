"""The wiring of Docker Compose without containers: a Triton of its own, and several front ends."""

import time

import httpx
import numpy as np
import pytest

from processes import MINILM, free_port, serve, triton_at

pytestmark = pytest.mark.slow


def test_a_separate_triton_is_reached_through_its_url_and_may_restart(ready_repository, source_model):
    """TRITON_GRPC_URL leads to a Triton that comes late, serves, restarts empty, and serves again."""
    port = free_port()
    triton = ready_repository / "repository" / "triton"
    variables = {"TRITON_GRPC_URL": f"127.0.0.1:{port}", "INGRAIN_TRITON_BACKEND": "python", "MAX_BATCH_SIZE": "16"}
    variables["INGRAIN_CACHE_BYTES"] = "0"  # the cache would answer without Triton
    with serve(ready_repository, **variables) as server:
        assert httpx.get(f"{server.inference}/health").status_code == 200
        server.wait_until(lambda: server.reasons() != [], 10)
        assert server.children("tritonserver") == []
        texts = ["one text", "another text that is longer", ""]
        truth = source_model.encode(texts)
        with triton_at(triton, port):
            server.wait_until_ready(60)
            assert np.abs(np.array(server.embed(texts).json()["embeddings"]) - truth).max() < 1e-4
        server.wait_until(lambda: server.embed(texts).status_code == 503, 10)
        looks = []

        def is_ready():
            looks.append(not server.reasons())
            return looks[-1]

        answers = []  # a second look at a Triton that has just come back may make a caller wait once more
        with triton_at(triton, port):
            server.wait_until(is_ready, 30)
            server.wait_until(lambda: answers.append(server.embed(texts)) or answers[-1].status_code == 200, 30)
            for _ in range(30):
                assert is_ready(), "it was ready before, and nothing has happened"
                time.sleep(0.05)
        assert not looks[0]
        assert np.abs(np.array(answers[-1].json()["embeddings"]) - truth).max() < 1e-4
        assert {answer.status_code for answer in answers} <= {200, 503}
        config = next(triton.glob("*/config.pbtxt")).read_text()
        assert "max_batch_size: 16" in config


def test_two_front_ends_share_one_triton_and_one_repository(ready_repository):
    """What one front end loads the other serves; what one unloads the other drops."""
    port = free_port()
    variables = {"TRITON_GRPC_URL": f"127.0.0.1:{port}", "INGRAIN_TRITON_BACKEND": "python"}
    with (
        triton_at(ready_repository / "repository" / "triton", port),
        serve(ready_repository, **variables) as one,
        serve(ready_repository, **variables) as two,
    ):
        one.wait_until_ready(60)
        two.wait_until_ready(60)
        assert one.embed("same").json()["embeddings"] == two.embed("same").json()["embeddings"]
        httpx.post(f"{one.model}/unload_model", json={"name": MINILM}, timeout=60).raise_for_status()
        assert two.embed("gone").status_code == 404
        assert two.load(MINILM).status_code == 200
        one.wait_until(lambda: one.embed("back").status_code == 200, 30)
