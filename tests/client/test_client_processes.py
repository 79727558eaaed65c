"""One client in many processes, threads and event loops: everybody gets the answers to its own questions."""

import asyncio
import copy
import gc
import os
import pickle
import ssl
import sys
from pathlib import Path

import numpy as np
import pytest

import ingrain
import many_processes
from client_api import Api
from ingrain.testing.fake_engine import fake_vector
from planes import WIDTH, ids_of
from wire_tap import WireTap


def truth(*given: str) -> np.ndarray:
    rows = np.stack([fake_vector(ids_of(text), WIDTH) for text in given])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("method", ["fork", "spawn"])
async def test_every_process_gets_the_vectors_of_its_own_texts(planes, tmp_path, method):
    """Six processes with a client that was used before they were begun: all answers right, and the parent's too."""
    np.save(tmp_path / "expected.npy", truth(*many_processes.texts()))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", many_processes.__file__, method, str(tmp_path / "expected.npy")),
        env={
            **os.environ,
            "INGRAIN_INFERENCE_URL": str(planes.inference.base_url),
            "PYTHONPATH": str(Path(ingrain.__file__).parents[1]),
        },
        stdout=pipe,
        stderr=pipe,
    )
    printed, complained = await process.communicate()
    assert printed.decode() == "360 of 360 right, 60 of 60 in the parent, awaited True\n", complained.decode()[-3000:]
    assert b"Traceback" not in complained


def head_and_body(identity: str) -> bytes:
    body = b'{"embeddings": [[0.5]], "processingTimeMs": 1}'
    head = f"HTTP/1.1 200 OK\r\nX-Request-Id: {identity}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.both_clients
async def test_an_answer_to_another_request_is_never_handed_out(kind):
    """Whatever answers with another id is asked once more, over a connection of its own, and then not believed."""
    async with WireTap(answer=head_and_body("anothers")) as tap:
        api = Api(kind, tap.url, tap.url)
        with pytest.raises(ingrain.UnexpectedAnswerError, match="match_request_ids=False") as raised:
            await api.embed_text("org/model", "red")
        assert tap.connections == 2
        assert raised.value.request_id
        with pytest.raises(ingrain.UnexpectedAnswerError):
            await api.unload_model("org/model")
        await api.close()
        trusting = Api(kind, tap.url, match_request_ids=False)
        assert (await trusting.embed_text("org/model", "red")).embeddings == [[0.5]]
        await trusting.close()


@pytest.mark.both_clients
async def test_one_mixed_up_connection_costs_one_more_request(connect, tap):
    """A first answer that bears another's id is thrown away with its connection; the vector is the right one."""
    tap.change = lambda number, data: data.replace(b"x-request-id: ", b"x-request-id: 0") if number == 1 else data
    api = connect(return_numpy=True)
    for _ in range(2):
        np.testing.assert_allclose((await api.embed_text("org/model", "red")).numpy(), truth("red"), atol=1e-6)
    assert tap.count(b"POST /embed_text") == 3
    assert tap.connections == 3


@pytest.mark.parametrize("request_id", ["", "two words", "é", "x" * 101])
async def test_an_id_that_the_server_would_not_keep_is_refused(api, request_id):
    with pytest.raises(ingrain.InvalidRequestError, match="request_id"):
        await api.embed_text("org/model", "red", request_id=request_id)


@pytest.mark.both_clients
async def test_copies_of_a_client_work_by_themselves(connect):
    """Pickled (Spark, Dask, joblib) or deep-copied after use: the same settings, connections of its own."""
    api = connect(return_numpy=True, batch_size=3, retry=ingrain.RetryPolicy(most=2))
    model = api.client.model("org/model")
    await api.embed_text("org/model", ["red", "green", "blue", "w1"])
    for make in (lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy):
        twin = Api.of(make(api.client))
        other = make(model)
        for call in (twin.embed_text("org/model", "red"), twin.awaitable(other.embed_text)("red")):
            np.testing.assert_allclose((await call).embeddings, truth("red"), atol=1e-6)
        await twin.close()
        await twin.awaitable(other._client.close if twin.kind == "sync" else other._client.aclose)()
    np.testing.assert_allclose((await api.embed_text("org/model", "red")).embeddings, truth("red"), atol=1e-6)
    answer = await api.embed_text("org/model", "red")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(answer)).embeddings, answer.embeddings)


@pytest.mark.both_clients
async def test_errors_come_out_of_a_worker_whole(api):
    """A pool of processes hands an exception on as a pickle."""
    with pytest.raises(ingrain.ModelNotLoadedError) as raised:
        await api.embed_text("nope", "red")
    error = pickle.loads(pickle.dumps(raised.value))
    assert type(error) is ingrain.ModelNotLoadedError
    for name in ("message", "param", "facts", "status", "request_id"):
        assert getattr(error, name) == getattr(raised.value, name)


@pytest.mark.parametrize("client", [ingrain.Client, ingrain.AsyncClient])
def test_a_context_of_certificates_is_shared_by_copies_and_refused_by_pickle(client):
    made = client("https://example.org", verify=ssl.create_default_context())
    copy.deepcopy(made)
    with pytest.raises(TypeError, match="verify"):
        pickle.dumps(made)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # what a loop that has ended leaves open nobody can close
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_asynchronous_client_outlives_its_event_loop(planes):
    """Three runs of asyncio.run, and two loops in threads at the same time, with one client."""
    client = ingrain.AsyncClient(str(planes.inference.base_url), return_numpy=True, concurrency=2, batch_size=5)
    given = [f"w{n} w{n + 1}" for n in range(90)]

    async def once() -> np.ndarray:
        await client.embed_text("org/model", "red")
        return (await client.embed_text("org/model", given)).embeddings

    def run() -> np.ndarray:
        return asyncio.run(once())

    for _ in range(3):
        np.testing.assert_allclose(await asyncio.to_thread(run), truth(*given), atol=1e-6)
    for rows in await asyncio.gather(asyncio.to_thread(run), asyncio.to_thread(run), once()):
        np.testing.assert_allclose(rows, truth(*given), atol=1e-6)
    await client.aclose()
    gc.collect()
