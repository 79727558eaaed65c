"""Several workers behind one port, on the embedded Triton: one server to callers, whatever happens to a worker."""

import contextlib
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest

from ingrain.bench.server_side import cpu_by_process
from processes import MINILM, ServerProcess, counters, serve, still_running
from senders import Senders, process_of

pytestmark = [pytest.mark.slow, pytest.mark.alone]

WORKERS = 3
TEXTS = [f"sentence number {n} about rivers and {'markets ' * (n % 7)}" for n in range(48)]


def workers_up(server: ServerProcess) -> int:
    return int(counters(server)["ingrain_workers"])


def processes(server: ServerProcess) -> list[psutil.Process]:
    return server.children("ingrain.app.workers.worker")


@contextlib.contextmanager
def every_worker(server: ServerProcess, clients: int = 2 * WORKERS):
    """Yield clients, each with a connection of its own that stays open: they are spread over all the workers."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(httpx.Client(base_url=server.inference, timeout=60)) for _ in range(clients)]
        for client in made:
            client.get("/health").raise_for_status()
        yield made


def post(client: httpx.Client, text, name: str = MINILM) -> httpx.Response:
    return client.post("/embed_text", json={"name": name, "text": text})


@pytest.fixture(scope="module")
def root(server, tmp_path_factory):
    """A folder whose repository holds the real model."""
    folder = tmp_path_factory.mktemp("workers")
    shutil.copytree(server.log.parent / "repository", folder / "repository")
    return folder


@contextlib.contextmanager
def serve_workers(root, *flags):
    with serve(root, f"--workers={WORKERS}", *flags) as server:
        server.wait_until_ready()
        server.wait_until(lambda: workers_up(server) == WORKERS, 60)
        yield server


@pytest.fixture(scope="module")
def many(root):
    """A server with several workers, shared by the tests that leave it as whole as they found it."""
    with serve_workers(root) as server:
        yield server


def test_every_worker_has_the_vectors_of_one_process(server, many):
    """Short and long, one by one and in a large request: the same numbers as from a server without workers."""
    truth = np.array(server.embed(TEXTS).json()["embeddings"])
    with every_worker(many) as clients, ThreadPoolExecutor(len(clients)) as pool:
        whole = list(pool.map(lambda client: post(client, TEXTS), clients))
        assert {answer.status_code for answer in whole} == {200}
        for answer in whole:
            assert np.abs(np.array(answer.json()["embeddings"]) - truth).max() < 1e-5
        single = list(pool.map(lambda n: post(clients[n % len(clients)], TEXTS[n]), range(len(TEXTS))))
        assert np.abs(np.array([answer.json()["embeddings"][0] for answer in single]) - truth).max() < 1e-5


def test_the_console_gets_the_same_vectors_from_the_main_process(many):
    answer = httpx.post(f"{many.model}/ui/api/embed_text", json={"name": MINILM, "text": TEXTS[:4]}, timeout=60)
    assert answer.status_code == 200, answer.text
    expected = many.embed(TEXTS[:4]).json()["embeddings"]
    assert np.abs(np.array(answer.json()["embeddings"]) - expected).max() < 1e-5


def test_connections_are_spread_evenly(many):
    """Each worker has as many, once those of the callers before are closed on its side too: a moment, or two."""

    def spread() -> list[int]:
        with every_worker(many, 8 * WORKERS) as clients:
            served_by = [process_of(post(client, "who?")) for client in clients]
        return [served_by.count(one) for one in set(served_by)]

    found = [spread()]
    while found[-1] != [8] * WORKERS and len(found) < 3:
        time.sleep(0.5)
        found.append(spread())
    assert found[-1] == [8] * WORKERS, found


def test_a_model_is_loaded_and_unloaded_everywhere_when_the_call_returns(many):
    """At the moment that the model plane has answered, each worker serves the model, or knows it no more."""
    with every_worker(many) as clients:
        for _ in range(3):
            answer = httpx.post(f"{many.model}/unload_model", json={"name": MINILM}, timeout=60)
            assert answer.status_code == 200
            answers = [post(client, "gone?") for client in clients]
            assert {(one.status_code, one.json()["error"]["code"]) for one in answers} == {(404, "model_not_loaded")}
            assert {client.get("/ready").status_code for client in clients} == {200}
            assert many.load(MINILM).status_code == 200
            answers = [post(client, "back?") for client in clients]
            assert {one.status_code for one in answers} == {200}
            assert len({process_of(one) for one in answers}) == WORKERS
            assert {client.get("/ready").status_code for client in clients} == {200}


def test_unloading_under_load_answers_each_request_with_its_vector_or_404(many):
    """What is in the engine is finished, what waits is told; while the model is loaded again that is 503."""
    with Senders(many, 9, TEXTS) as senders:
        time.sleep(0.5)
        for _ in range(3):
            httpx.post(f"{many.model}/unload_model", json={"name": MINILM}, timeout=60).raise_for_status()
            assert many.load(MINILM).status_code == 200
            time.sleep(0.3)
    assert senders.surprises == senders.broken == []
    assert {200, 404} <= set(senders.statuses) <= {200, 404, 503}


def test_metrics_are_of_all_workers_whichever_is_asked(many):
    with every_worker(many) as clients:
        before = counters(many)
        for number, client in enumerate(clients):  # texts that no worker has in its cache
            assert post(client, [f"one {number}", f"two {number}"]).status_code == 200
        for client in clients:
            samples = client.get("/metrics", headers={"Accept": "text/plain"}).text
            found = dict(re.findall(r"^(\w\S*) (\S+)$", samples, re.MULTILINE))
            requests = 'ingrain_requests_total{route="/embed_text",status="200"}'
            items = f'ingrain_batch_items_total{{model="{MINILM}"}}'
            assert float(found[requests]) == before[requests] + len(clients)
            assert float(found[items]) == before[items] + 2 * len(clients)
            assert float(found["ingrain_workers"]) == WORKERS
        # Triton counts a batch a moment after it has answered; by the last scrape it has.
        (stats,) = clients[0].get("/metrics").json()["modelStats"]
        assert int(stats["inferenceCount"]) == float(found[f'ingrain_engine_inferences_total{{model="{MINILM}"}}'])


def test_the_load_generator_counts_workers_as_front_end(many):
    used = cpu_by_process(httpx.URL(many.inference).port)
    assert set(used) == {"front end", "graphs", "tritonserver"}
    assert used["front end"] > sum(sum(process.cpu_times()[:2]) for process in processes(many))


def test_a_killed_worker_is_replaced_and_clients_that_retry_lose_nothing(many):
    """Its own connections break; no other request fails, no counter goes back, nothing is wrong."""
    truth = np.array(many.embed(TEXTS).json()["embeddings"])
    clients = 3 * WORKERS
    requests = 'ingrain_requests_total{route="/embed_text",status="200"}'
    with Senders(many, clients, TEXTS) as senders:
        many.wait_until(lambda: len(senders.served_by) == clients, 30)
        time.sleep(0.5)
        before = counters(many)
        victim = processes(many)[0]
        victim.kill()
        many.wait_until(lambda: counters(many)["ingrain_worker_restarts_total"] == 1, 30)
        assert counters(many)[requests] >= before[requests]
        many.wait_until(lambda: workers_up(many) == WORKERS, 60)
        time.sleep(0.5)
    assert senders.surprises == []
    assert set(senders.statuses) == {200}
    assert len(senders.broke_with()) == 1
    # A client that comes back before the dead worker's last socket is closed may be handed to it once more.
    assert max(map(senders.broken.count, senders.broken)) <= 2
    for index, vector in senders.answers:
        assert np.abs(truth[index] - vector).max() < 1e-5
    assert {process.pid for process in processes(many)}.isdisjoint({victim.pid})
    with every_worker(many) as made:
        assert len({process_of(post(client, "whole again?")) for client in made}) == WORKERS


def test_a_worker_that_is_asked_to_end_finishes_its_requests_and_is_replaced(many):
    """A connection of its own may be closed between two requests, as idle ones are; no request that it has is lost."""
    restarts = counters(many)["ingrain_worker_restarts_total"]
    clients = 2 * WORKERS
    with Senders(many, clients, TEXTS) as senders:
        many.wait_until(lambda: len(senders.served_by) == clients, 30)
        victim = processes(many)[0]
        number = victim.cmdline()[victim.cmdline().index("ingrain.app.workers.worker") + 1]
        victim.terminate()
        many.wait_until(lambda: counters(many)["ingrain_worker_restarts_total"] == restarts + 1, 30)
        many.wait_until(lambda: workers_up(many) == WORKERS, 60)
    assert senders.surprises == []
    assert len(senders.broke_with()) <= 1
    assert len(senders.broken) == len(set(senders.broken))
    assert set(senders.statuses) == {200}
    assert not victim.is_running()
    assert f"Worker {number} ended with code 0" in many.log.read_text()


def test_a_triton_that_was_killed_is_found_again_by_every_worker(many):
    """Callers get 503 with a time to come back meanwhile, from each worker, and then their vectors."""
    truth = np.array(many.embed(TEXTS).json()["embeddings"])
    (triton,) = [p for p in many.children("tritonserver") if "stub" not in p.name()]
    with Senders(many, 2 * WORKERS, TEXTS) as senders:
        time.sleep(0.5)
        triton.kill()
        many.wait_until(lambda: many.reasons() != [], 10)
        many.wait_until(lambda: many.reasons() == [], 30)
        time.sleep(0.5)
        with every_worker(many) as clients:
            assert {post(client, "back?").status_code for client in clients} == {200}
    assert senders.surprises == senders.broken == []
    assert set(senders.statuses) == {200, 503}
    for index, vector in senders.answers:
        assert np.abs(truth[index] - vector).max() < 1e-5


def test_stopping_lets_every_worker_finish_and_leaves_no_process(root):
    """Requests large enough that all are seen in progress, however late one looks."""
    texts = TEXTS * 20
    with (
        serve_workers(root, "--shutdown-timeout-s=90") as server,
        every_worker(server) as clients,
        ThreadPoolExecutor(len(clients)) as pool,
    ):
        asked = [pool.submit(post, client, texts) for client in clients]
        server.wait_until(lambda: counters(server)["ingrain_requests_in_progress"] > len(clients), 30)
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop(100) == 0
        answers = [one.result(60) for one in asked]
        assert [answer.status_code for answer in answers] == [200] * len(clients)
        assert {len(answer.json()["embeddings"]) for answer in answers} == {len(texts)}
        assert still_running(family) == []


def test_workers_that_run_and_that_hang_end_with_a_main_process_that_was_killed(root):
    with serve_workers(root) as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert len(processes(server)) == WORKERS
        os.kill(processes(server)[0].pid, signal.SIGSTOP)
        server.process.kill()
        server.process.wait()
        assert still_running(family) == []
