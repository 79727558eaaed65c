"""Things die, and nothing is lost: Triton, the export, the server."""

import contextlib
import os
import signal
import threading
import time

import httpx
import numpy as np
import psutil
import pytest

from processes import MINILM, serve

pytestmark = pytest.mark.slow
TEXTS = [f"sentence number {n} about rivers and markets" for n in range(64)]


class Senders:
    """Clients that send one text after the other, and try again when told to."""

    def __init__(self, url: str, count: int) -> None:
        self.url = url
        self.stop = threading.Event()
        self.answers: list[tuple[int, list[float]]] = []
        self.refusals: list[tuple[int, str | None]] = []
        self.surprises: list[object] = []
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)

    def run(self, number: int) -> None:
        with httpx.Client(timeout=60) as client:
            turn = number
            while not self.stop.is_set():
                self.send(client, turn % len(TEXTS))
                turn += 7

    def send(self, client: httpx.Client, index: int) -> None:
        for _ in range(100):
            answer = client.post(f"{self.url}/embed_text", json={"name": MINILM, "text": TEXTS[index]})
            if answer.status_code == 200:
                self.answers.append((index, answer.json()["embeddings"][0]))
                return
            self.refusals.append((answer.status_code, answer.headers.get("retry-after")))
            time.sleep(0.2)
        self.surprises.append(index)


def test_a_killed_triton_is_back_within_ten_seconds_and_clients_that_retry_lose_nothing(ready_repository):
    """While 8 clients send, tritonserver is killed: 503 with Retry-After meanwhile, never a wrong vector."""
    with serve(ready_repository) as server:
        server.wait_until_ready()
        truth = np.array(server.embed(TEXTS).json()["embeddings"])
        (triton,) = [p for p in server.children("tritonserver") if "stub" not in p.name()]
        with Senders(server.inference, 8) as senders:
            time.sleep(1)
            killed_at = time.monotonic()
            os.kill(triton.pid, signal.SIGKILL)
            server.wait_until(lambda: server.reasons() != [], 5)
            server.wait_until(lambda: server.reasons() == [] and server.embed("back").status_code == 200, 10)
            back_after_s = time.monotonic() - killed_at
            time.sleep(1)
        assert back_after_s < 10
        assert senders.surprises == []
        assert {status for status, _ in senders.refusals} <= {503}
        assert senders.refusals
        assert all(retry_after is not None for _, retry_after in senders.refusals)
        for index, vector in senders.answers:
            assert np.abs(truth[index] - vector).max() < 1e-5


def files_of(repository) -> set[str]:
    """Return every file of a repository but the empty ones that only carry locks."""
    files = (path.relative_to(repository) for path in repository.rglob("*") if path.is_file())
    return {str(path) for path in files if path.parts[0] not in ("lock", "claims")}


def test_a_killed_export_leaves_no_trace_and_the_next_load_works(small_models, tmp_path):
    with serve(tmp_path, f"--local-models-dir={small_models}") as server:
        before = files_of(tmp_path / "repository")
        failed = []
        load = threading.Thread(target=lambda: failed.append(server.load(MINILM)))
        load.start()
        server.wait_until(lambda: server.children("ingrain.export.process.worker") != [], 30)
        time.sleep(3)
        (worker,) = server.children("ingrain.export.process.worker")
        worker.kill()
        load.join(60)
        assert failed[0].status_code == 503
        assert failed[0].json()["error"]["code"] == "export_killed"
        assert files_of(tmp_path / "repository") == before
        assert server.load(MINILM).status_code == 200
        assert server.embed("works").status_code == 200


def test_a_server_killed_during_an_export_takes_the_export_along_and_leaves_no_trace(small_models, tmp_path):
    flags = f"--local-models-dir={small_models}"
    with serve(tmp_path, flags, f"--models={MINILM}") as server:
        server.wait_until(lambda: server.children("ingrain.export.process.worker") != [], 30)
        time.sleep(3)
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
        server.process.wait()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == [], "the export and tritonserver must end with the server"
    with serve(tmp_path, flags) as server:
        server.wait_until_ready()
        assert files_of(tmp_path / "repository") == set()
        assert httpx.get(f"{server.model}/repository_models").json() == {"models": []}
        assert server.load(MINILM).status_code == 200


def test_what_was_loaded_is_loaded_again_after_a_restart(ready_repository):
    with serve(ready_repository) as server:
        server.wait_until_ready()
        assert server.embed("again").status_code == 200
        assert server.stop() == 0


def test_stopping_lets_running_requests_finish_and_leaves_no_process(ready_repository):
    with serve(ready_repository) as server:
        server.wait_until_ready()
        answers = []
        request = threading.Thread(target=lambda: answers.append(server.embed(TEXTS * 4)))
        request.start()
        time.sleep(0.3)
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop() == 0
        request.join(30)
        assert answers[0].status_code == 200
        assert len(answers[0].json()["embeddings"]) == 4 * len(TEXTS)
        with contextlib.suppress(psutil.NoSuchProcess):
            assert psutil.wait_procs(family, timeout=5)[1] == []
