"""The embedded tritonserver as a process: it never outlives us, leaves nothing behind, and heals."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import graphs
from ingrain.engine.embedded import owned_names
from ingrain.engine.embedded.engine import EmbeddedEngine
from ingrain.engine.embedded.tritonserver import available
from ingrain.errors import EngineUnavailableError, InferenceError, ModelNotLoadedError

pytestmark = pytest.mark.slow

ALONE = """
import asyncio, sys
from pathlib import Path
from ingrain.engine.embedded.engine import EmbeddedEngine
import graphs

async def main():
    root = Path(sys.argv[1])
    engine = EmbeddedEngine(root)
    await engine.start()
    await engine.load(graphs.describe_graph("tiny", root / "tiny" / "1" / "model.onnx"))
    print(engine.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def ones(items, tokens):
    ids = np.ones((items, tokens), np.int64)
    return {"input_ids": ids, "attention_mask": ids}


def running(pid):
    """Tell whether a process runs; one that is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def children(pid):
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def left_behind(owner):
    """Return folders and shared memory whose names say that ``owner`` made them."""
    places = (owned_names.SHARED_MEMORY, Path(tempfile.gettempdir()))
    return [path for place in places for path in place.glob(f"ingrain-triton-*-{owner}-*")]


def mode(path):
    return path.stat().st_mode & 0o777


def listening(pid):
    """Return the TCP sockets on which a process listens."""
    own = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    lines = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return own & {f"socket:[{line[9]}]" for line in lines if line[3] == "0A"}


async def until(condition, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_is_available_here():
    assert available() is None


async def test_ends_with_us_even_by_kill_9(tmp_path, write_graph):
    """Neither tritonserver nor its Python stubs outlive the process that started them; the next start sweeps up."""
    write_graph(tmp_path, "python")
    owner = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        [sys.executable, "-c", ALONE, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with owner:
        server = int(owner.stdout.readline())
        processes = [server, *children(server)]
        assert len(processes) > 1
        assert all(map(running, processes))
        owner.kill()
    await until(lambda: not any(map(running, processes)), 15)
    owned_names.sweep()
    assert left_behind(owner.pid) == []


async def test_stubs_end_when_the_server_is_killed_and_nothing_is_left_in_shared_memory(
    embedded, tmp_path, write_graph
):
    graph = write_graph(tmp_path, "python", instances=2)
    back = asyncio.Event()
    embedded.on_restart(back.set)
    await embedded.load(graph)
    stubs = children(embedded.pid)
    before = list(owned_names.SHARED_MEMORY.glob(f"ingrain-triton-*-{os.getpid()}-*"))
    assert len(stubs) == 1
    assert before
    os.kill(embedded.pid, signal.SIGKILL)
    await until(lambda: not any(map(running, stubs)), 2)
    await asyncio.wait_for(back.wait(), 10)
    assert not any(path.exists() for path in before)


async def test_a_killed_stub_is_a_restart_and_never_a_wrong_vector(embedded, tmp_path, write_graph):
    """Triton would neither start the stub again nor unload its graph (out of memory kills stubs), so we start anew."""
    graph = write_graph(tmp_path, "python")
    back = asyncio.Event()
    embedded.on_restart(back.set)
    await embedded.load(graph)
    inputs = ones(3, 4)
    expected = graphs.expected_embedding(*inputs.values())
    os.kill(children(embedded.pid)[0], signal.SIGKILL)
    killed = time.monotonic()
    while not back.is_set():
        assert time.monotonic() - killed < 10
        with pytest.raises((EngineUnavailableError, ModelNotLoadedError)):
            await embedded.infer("tiny", inputs, timeout_s=5)
        await asyncio.sleep(0.02)
    await embedded.load(graph)
    outputs = await embedded.infer("tiny", inputs)
    np.testing.assert_allclose(outputs["sentence_embedding"], expected, atol=1e-6)


async def test_a_batch_in_flight_is_answered_when_its_stub_dies(embedded, tmp_path, write_graph):
    """Triton itself would never answer it, because the stub has taken it over."""
    await embedded.load(write_graph(tmp_path, "python", iterations=1500))
    running_batch = asyncio.create_task(embedded.infer("tiny", ones(2, 4)))
    await asyncio.sleep(0.2)
    os.kill(children(embedded.pid)[0], signal.SIGKILL)
    with pytest.raises(EngineUnavailableError):
        await asyncio.wait_for(running_batch, 15)


async def test_unloading_is_not_taken_for_a_death(embedded, tmp_path, write_graph):
    graph = write_graph(tmp_path, "python", instances=2)
    server = embedded.pid
    for _ in range(2):
        await embedded.load(graph)
        await embedded.unload("tiny")
    await asyncio.sleep(1.2)
    assert embedded.pid == server


async def test_close_leaves_nothing(tmp_path, write_graph):
    engine = EmbeddedEngine(tmp_path)
    await engine.start()
    await engine.load(write_graph(tmp_path, "python"))
    processes = [engine.pid, *children(engine.pid)]
    await engine.close()
    assert not any(map(running, processes))
    assert left_behind(os.getpid()) == []


async def test_only_we_can_reach_it(embedded):
    """It listens on a UNIX socket in a folder without rights for others, and on no port."""
    folder = Path(embedded._server.target.removeprefix("unix:")).parent
    assert mode(folder) == 0o700
    assert not listening(embedded.pid)


async def test_one_bad_request_does_not_fail_those_it_was_merged_with(embedded, tmp_path, write_graph):
    """Requests of one shape that Triton merges: only the one with a token id out of range fails.

    On a busy machine they may come one by one for a while, and nothing is merged.
    """
    await embedded.load(write_graph(tmp_path, "python"))
    bad = ones(1, 4)
    bad["input_ids"] = bad["input_ids"] * 10_000
    rounds = merged = 0
    while rounds < 3 or (not merged and rounds < 50):
        rounds += 1
        calls = [embedded.infer("tiny", bad if position == 9 else ones(1, 4)) for position in range(24)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        expected = graphs.expected_embedding(*ones(1, 4).values())
        for position, result in enumerate(results):
            if position == 9:
                assert isinstance(result, InferenceError)
            else:
                np.testing.assert_allclose(result["sentence_embedding"], expected, atol=1e-6)
        (statistics,) = await embedded.statistics()
        merged = statistics.durations["success"].count - statistics.execution_count
    assert merged > 0


async def test_a_server_that_cannot_start_says_so_and_leaves_nothing(tmp_path):
    """The repository is not a folder: the error comes at once and is ours."""
    engine = EmbeddedEngine(tmp_path / "file" / "triton", start_timeout_s=5)
    (tmp_path / "file").write_text("")
    with pytest.raises((EngineUnavailableError, OSError)):
        await engine.start()
    await engine.close()
    assert left_behind(os.getpid()) == []


async def test_answers_while_an_event_loop_of_another_thread_has_used_grpc(tmp_path, write_graph):
    """The state of gRPC is the process's; an engine in a second loop works after one in a first has ended."""

    def first():
        async def use():
            engine = EmbeddedEngine(tmp_path)
            await engine.start()
            await engine.close()

        asyncio.run(use())

    await asyncio.to_thread(first)
    engine = EmbeddedEngine(tmp_path)
    await engine.start()
    await engine.load(write_graph(tmp_path, "python"))
    await engine.infer("tiny", ones(1, 1))
    await engine.close()


STAND_IN = """
import sys
from pathlib import Path

Path({marker!r}).touch()
sys.path.remove({folder!r})
del sys.modules["onnxruntime"]
import onnxruntime
"""


async def test_packages_that_pythonpath_leads_to_come_first(tmp_path, write_graph, monkeypatch):
    """Triton's stub takes no notice of the variable by itself. The stand-in steps aside for the real package."""
    folder, marker = tmp_path / "elsewhere", tmp_path / "found"
    folder.mkdir()
    (folder / "onnxruntime.py").write_text(STAND_IN.format(folder=str(folder), marker=str(marker)))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    root = tmp_path / "repository"
    graph = write_graph(root, "python")
    engine = EmbeddedEngine(root)
    await engine.start()
    try:
        await engine.load(graph)
        assert (await engine.infer("tiny", ones(2, 5)))["sentence_embedding"].shape[0] == 2
    finally:
        await engine.close()
    assert marker.exists()


async def test_eight_batches_of_a_graph_run_at_once_in_one_process(embedded, tmp_path, write_graph):
    """Triton has one stub with one copy of the weights, and none of the batches waits for another."""
    graph = write_graph(tmp_path, "python", iterations=300, instances=8)
    await embedded.load(graph)
    assert len(children(embedded.pid)) == 1
    batches = [ones(1 + number, 4 + number) for number in range(8)]  # of different shapes, so that none are merged
    answers = await asyncio.gather(*(embedded.infer("tiny", inputs, timeout_s=60) for inputs in batches))
    for answer, inputs in zip(answers, batches, strict=True):
        np.testing.assert_allclose(answer["sentence_embedding"], graphs.expected_embedding(*inputs.values()), atol=1e-6)
    (found,) = await embedded.statistics()
    assert (found.execution_count, found.inference_count) == (8, sum(range(1, 9)))
    # One after the other, the batches would wait 3.5 times as long as they run.
    assert found.durations["queue"].ns < found.durations["compute_infer"].ns / 4


async def test_unloading_waits_for_the_batches_that_run(embedded, tmp_path, write_graph):
    graph = write_graph(tmp_path, "python", iterations=1500, instances=2)
    await embedded.load(graph)
    inputs = ones(2, 4)
    running = [asyncio.create_task(embedded.infer("tiny", inputs, timeout_s=60)) for _ in range(2)]
    await asyncio.sleep(0.2)
    await embedded.unload("tiny")
    for task in running:
        answer = await task
        expected = graphs.expected_embedding(*inputs.values())
        np.testing.assert_allclose(answer["sentence_embedding"], expected, atol=1e-6)
    assert children(embedded.pid) == []
