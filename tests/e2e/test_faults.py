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

from processes import MINILM, counters, serve, still_running
from senders import Senders

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TEXTS = [f"sentence number {n} about rivers and markets" for n in range(64)]


def test_a_killed_triton_is_back_within_ten_seconds_and_clients_that_retry_lose_nothing(ready_repository):
    """While 8 clients send, tritonserver is killed: 503 with Retry-After meanwhile, never a wrong vector."""
    with serve(ready_repository) as server:
        server.wait_until_ready()
        truth = np.array(server.embed(TEXTS).json()["embeddings"])
        (triton,) = [p for p in server.children("tritonserver") if "stub" not in p.name()]
        with Senders(server, 8, TEXTS) as senders:
            time.sleep(1)
            killed_at = time.monotonic()
            os.kill(triton.pid, signal.SIGKILL)
            server.wait_until(lambda: server.reasons() != [], 5)
            server.wait_until(lambda: server.reasons() == [] and server.embed("back").status_code == 200, 10)
            back_after_s = time.monotonic() - killed_at
            time.sleep(1)
        assert back_after_s < 10
        assert senders.surprises == senders.broken == []
        assert {status for status, _ in senders.refusals} <= {503}
        assert senders.refusals
        assert all(retry_after is not None for _, retry_after in senders.refusals)
        for index, vector in senders.answers:
            assert np.abs(truth[index] - vector).max() < 1e-5


def files_of(repository) -> set[str]:
    """Return every file of a repository but the empty ones that only carry locks."""
    files = (path.relative_to(repository) for path in repository.rglob("*") if path.is_file())
    return {str(path) for path in files if path.parts[0] not in ("lock", "claims")}


def wait_for_export(server, number: int) -> None:
    """Wait until the small model's conversion, the first or a later one, makes its graph."""
    server.wait_until(lambda: server.log.read_text().count(f"'{MINILM}': export") >= number, 300)


def test_a_killed_export_and_a_killed_server_leave_no_trace_and_the_next_load_works(small_models, warm, tmp_path):
    """The export alone is killed, and the load is refused; then the server is, which takes its export along."""
    flags = f"--local-models-dir={small_models}"
    with serve(tmp_path, flags) as server:
        before = files_of(tmp_path / "repository")
        failed = []
        load = threading.Thread(target=lambda: failed.append(server.load(MINILM)))
        load.start()
        wait_for_export(server, 1)
        (worker,) = server.children("ingrain.export.process.worker")
        worker.kill()
        load.join(60)
        assert failed[0].status_code == 503
        assert failed[0].json()["error"]["code"] == "export_killed"
        assert files_of(tmp_path / "repository") == before

        load = threading.Thread(target=load_in_vain, args=(server,))
        load.start()
        wait_for_export(server, 2)
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
        server.process.wait()
        assert still_running(family) == [], "the export and tritonserver must end with the server"
        load.join(60)
    with serve(tmp_path, flags, **warm) as server:
        server.wait_until_ready()
        assert files_of(tmp_path / "repository") == set()
        assert httpx.get(f"{server.model}/repository_models").json() == {"models": []}
        assert server.load(MINILM).status_code == 200
        assert server.embed("works").status_code == 200


def load_in_vain(server) -> None:
    """Ask for the model; the server dies before it answers."""
    with contextlib.suppress(httpx.HTTPError):
        server.load(MINILM)


def test_what_was_loaded_is_loaded_again_and_stopping_lets_running_requests_finish(ready_repository):
    """A server on the repository of one that was stopped; it leaves no process."""
    texts = TEXTS * 20
    with serve(ready_repository, "--shutdown-timeout-s=90") as server:
        server.wait_until_ready()
        assert server.embed("again").status_code == 200
        answers = []
        request = threading.Thread(target=lambda: answers.append(server.embed(texts)))
        request.start()
        server.wait_until(lambda: counters(server)["ingrain_requests_in_progress"] > 1, 30)
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop(100) == 0
        request.join(30)
        assert answers[0].status_code == 200
        assert len(answers[0].json()["embeddings"]) == len(texts)
        assert still_running(family) == []
