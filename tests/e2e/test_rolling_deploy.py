"""A rolling deploy: three front ends on one Triton and one repository are replaced by ones with other settings."""

import contextlib
import threading
import time

import httpx
import numpy as np
import pytest

from processes import MINILM, counters, free_port, serve, triton_at

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TEXTS = [f"text number {number}" for number in range(12)]


class RetryingClients:
    """Clients that send requests to whichever front end answers, each until it has its vectors, for a minute at most.

    Attributes:
        urls: Inference planes; the test changes the list.
        failed: What a client got at last instead of its vectors.
        answered: Number of answered requests.
    """

    def __init__(self, urls: list[str], truth: np.ndarray) -> None:
        self.urls, self.truth = urls, truth
        self.failed: list[str] = []
        self.answered = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def _send(self, number: int) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                deadline, last = time.monotonic() + 60, ""
                while time.monotonic() < deadline:
                    number += 1
                    body = {"name": MINILM, "text": TEXTS}
                    with contextlib.suppress(httpx.TransportError):
                        answer = client.post(f"{self.urls[number % len(self.urls)]}/embed_text", json=body)
                        last = f"{answer.status_code} {answer.text[:200]}"
                        if answer.status_code == 200:
                            if np.abs(np.array(answer.json()["embeddings"]) - self.truth).max() > 1e-4:
                                self.failed.append("a wrong vector")
                            break
                        if answer.status_code not in (429, 503):
                            self.failed.append(last)
                            break
                    time.sleep(0.1)
                else:
                    self.failed.append(last)
                self.answered += 1


def ready_model(server) -> bool:
    return httpx.get(f"{server.inference}/ready", params={"model": MINILM}, timeout=10).status_code == 200


def largest_batches(triton) -> list[str]:
    lines = next(triton.glob("*/config.pbtxt")).read_text().splitlines()
    return [line for line in lines if line.startswith("max_batch_size")]


def test_a_rolling_deploy_from_batches_of_8_to_32_loses_no_request(ready_repository, source_model, record_property):
    """Two front ends that differed in MAX_BATCH_SIZE unloaded each other's graphs without end."""
    port = free_port()
    triton = ready_repository / "repository" / "triton"
    variables = {
        "TRITON_GRPC_URL": f"127.0.0.1:{port}",
        "INGRAIN_TRITON_BACKEND": "python",
        "INSTANCE_KIND": "KIND_CPU",
    }
    variables["INGRAIN_CACHE_BYTES"] = "0"  # the cache would answer without Triton
    with triton_at(triton, port), contextlib.ExitStack() as servers:
        old = [contextlib.ExitStack() for _ in range(3)]
        for each in old:
            servers.enter_context(each)
        running = [each.enter_context(serve(ready_repository, MAX_BATCH_SIZE="8", **variables)) for each in old]
        for server in running:
            server.wait_until_ready(120)
        with RetryingClients([server.inference for server in running], source_model.encode(TEXTS)) as clients:
            started = time.monotonic()
            for number, each in enumerate(old):
                server = servers.enter_context(serve(ready_repository, MAX_BATCH_SIZE="32", **variables))
                server.wait_until_ready(60)
                clients.urls[number] = server.inference
                each.close()
                running[number] = server
            took = time.monotonic() - started
            record_property("seconds", round(took, 1))
            record_property("answered", clients.answered)
            assert took < 60
            assert largest_batches(triton) == ["max_batch_size: 8"], "nobody has asked for other settings"
            before = clients.answered
            assert running[0].load(MINILM).json()["message"].endswith("loaded successfully.")
            running[1].wait_until(lambda: ready_model(running[1]), 60)
            assert running[1].load(MINILM).json()["message"].endswith("already loaded.")
            assert largest_batches(triton) == ["max_batch_size: 32"]
            running[1].wait_until(lambda: clients.answered > before + 40, 60)
        assert clients.failed == []
        assert running[2].embed(TEXTS * 5).status_code == 200
        log = "".join(server.log.read_text() for server in running)
        assert log.count("differs from this server's settings") >= 2
        assert all(counters(server)["ingrain_ready"] == 1 for server in running)
