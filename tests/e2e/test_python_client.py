"""The client against real server processes, with the real model on the embedded Triton."""

import asyncio
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import ingrain
from processes import MINILM, serve
from texts import sentences

pytestmark = pytest.mark.slow


def free_ports(server) -> list[str]:
    """Return the flags that give another server the ports of this one."""
    ports = (server.inference.rpartition(":")[2], server.model.rpartition(":")[2])
    return [f"--inference-port={ports[0]}", f"--model-port={ports[1]}"]


def test_vectors_are_the_source_librarys_own_by_either_client(server, source_model):
    texts = sentences()[:200]
    truth = source_model.encode(texts)
    with ingrain.Client(server.inference, server.model) as client:
        model = client.load_model(MINILM, "sentence_transformers")
        lists = model.embed_text(texts)
        assert model.embedding_size() == 384
    assert np.abs(lists.numpy() - truth).max() < 1e-4

    async def asynchronously():
        async with ingrain.AsyncClient(server.inference, server.model, return_numpy=True) as client:
            return await client.embed_text(MINILM, texts)

    assert np.abs(asyncio.run(asynchronously()).embeddings - truth).max() < 1e-4


def test_a_server_that_is_killed_and_started_again_in_the_middle_of_a_call_costs_nothing_but_time(ready_repository):
    """Some of a call's requests are answered when the server dies; the call ends complete, in order, and right."""
    texts = [f"sentence number {n} about rivers and {'markets' if n % 3 else 'stones'}" for n in range(1200)]
    done = []
    with serve(ready_repository, "--cache-bytes=0") as server:
        server.wait_until_ready()
        ports = free_ports(server)
        with ingrain.Client(server.inference, server.model, return_numpy=True) as client:
            truth = client.embed_text(MINILM, texts).embeddings
            call = threading.Thread(target=lambda: done.append(client.embed_text(MINILM, texts)))
            before = _answered(client)
            call.start()
            server.wait_until(lambda: _answered(client) - before > 150, 60)
            server.process.kill()
            server.process.wait()
            assert done == [], "the call was over before the server died"
            time.sleep(1)
            with serve(ready_repository, *ports) as again:
                again.wait_until_ready()
                call.join(120)
    rows = done[0].embeddings
    assert rows.shape == truth.shape == (1200, 384)
    assert np.abs(rows - truth).max() < 1e-5


def _answered(client: ingrain.Client) -> int:
    (stats,) = client.metrics().model_stats
    return int(stats.inference_count or 0)


def test_the_memory_of_a_long_call_is_that_of_its_result(server):
    """8,000 texts streamed take no more than 2,500; as one array they take the array and little else."""
    script = r"""
import re, sys
import ingrain
# Not getrusage: what the parent took before this process became another counts there too.
def peak(): return int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
client = ingrain.Client(sys.argv[1], return_numpy=True)
texts = (f"word {n % 500}" for n in range(8_000))  # the server has a cache, and the client is what counts
for count, part in enumerate(client.stream_text(sys.argv[2], texts)):
    if count == 40: before = peak()
streamed = peak()
rows = client.embed_text(sys.argv[2], [f"word {n % 500}" for n in range(8_000)]).embeddings
print(before, streamed, peak(), rows.nbytes // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, server.inference, MINILM],
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    )
    before, streamed, collected, result = map(int, done.stdout.split())
    assert streamed - before < 8_000
    assert collected - streamed < 1.3 * result + 8_000
