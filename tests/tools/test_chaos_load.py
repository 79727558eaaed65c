"""The clients of `make chaos` tell right from wrong, and retry as they should: otherwise its runs prove nothing."""

import asyncio
import http.server
import json
import socket
import threading
import time
from contextlib import contextmanager

import msgspec
import numpy as np
import pytest

from chaos import load
from chaos.faults import FAULTS
from chaos.load import Load, Question
from chaos.outcome import Done, Outcome

VECTORS = np.array([[0.6, 0.8]])
LIMITS = {"outage": 10.0, "worker": 3.0, "hang": 30.0}


class Answers(http.server.BaseHTTPRequestHandler):
    """Gives the server's answers, one after the other and the last one for ever."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers
        status, body, headers = answers[min(len(self.server.times), len(answers) - 1)]
        self.server.times.append(time.monotonic())
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments):
        pass


@contextmanager
def answering(*answers: tuple[int, object, dict[str, str]]):
    """Yield the address of a server that gives these answers, and the times of its calls."""
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.answers, server.times = answers, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.times
        finally:
            server.shutdown()
            thread.join()


async def first_request(clients: Load) -> None:
    """Run clients until each has ended the request that it begins with."""
    clients.start()
    while not clients.under_way():
        await asyncio.sleep(0)
    await clients.stop()


async def outcome_of(*answers: tuple[int, object, dict[str, str]]) -> tuple[Outcome, list[float]]:
    """Return what one client makes of the answers to its first request."""
    with answering(*answers) as (address, times):
        clients = Load([address], [Question("/embed_text", {"text": "red"}, VECTORS)], clients=1, seed=0)
        await first_request(clients)
    return Outcome("embedded", clients.asked), times


RIGHT = (200, {"embeddings": [[0.6, 0.8]]}, {})


@pytest.mark.parametrize(
    "body",
    [
        {"embeddings": [[0.8, 0.6]]},
        {"embeddings": [[0.6, 0.8001]]},
        {"embeddings": [[0.6, 0.8], [0.6, 0.8]]},
        {"embeddings": [[0.6, None]]},
        {"embeddings": []},
        {"message": "?"},
    ],
)
async def test_a_vector_that_differs_is_wrong(body):
    outcome, times = await outcome_of((200, body, {}))
    assert len(outcome.wrong()) == len(times) == 1
    assert "1 wrong" in outcome.failures(LIMITS)[0]


async def test_a_refusal_is_retried_when_it_says_and_is_no_failure():
    outcome, times = await outcome_of((503, {}, {"Retry-After": "1"}), RIGHT)
    assert 1 <= times[1] - times[0] < 10
    assert outcome.failures(LIMITS) == []
    assert outcome.answers() == {"503": 1, "200": 1}


async def test_a_time_to_come_back_beyond_the_clients_patience_is_a_lost_request():
    outcome, times = await outcome_of((503, {}, {"Retry-After": "357"}), RIGHT)
    assert len(times) == len(outcome.lost()) == 1
    assert "lost after" in outcome.failures(LIMITS)[0]


@pytest.mark.parametrize("status", [500, 404, 400, 503])
async def test_an_answer_that_no_client_should_get_is_a_failure_even_if_the_next_is_right(status):
    outcome, _ = await outcome_of((status, {"message": "because"}, {}), RIGHT)
    assert outcome.lost() == outcome.wrong() == []
    (failure,) = outcome.failures(LIMITS)
    assert f"{status}" in failure
    assert "because" in failure


@pytest.mark.parametrize(("away", "failures"), [({"red"}, 0), ({"blue"}, 1)])
async def test_404_is_no_failure_only_for_a_model_that_is_away(away, failures):
    question = Question("/embed_text", {"name": "red"}, VECTORS)
    with answering((404, {}, {}), RIGHT) as (address, _):
        clients = Load([address], [question], clients=1, seed=0, away=away)
        await first_request(clients)
    assert len(Outcome("six kinds", clients.asked).failures({})) == failures
    assert clients.asked[0].is_right


async def test_numbers_of_other_routes_are_read_and_compared():
    """Such as scores, which come in the order of the ranking."""
    question = Question("/rerank", {}, np.array([0.5, 0.9]), lambda body: np.array(body["scores"]))
    for scores, is_right in (([0.5, 0.9], True), ([0.9, 0.5], False), ([], False), (None, False)):
        with answering((200, {"scores": scores}, {})) as (address, _):
            clients = Load([address], [question], clients=1, seed=0)
            await first_request(clients)
        assert clients.asked[0].is_right is is_right


async def test_an_outage_over_the_limit_of_its_fault_is_a_failure():
    outcome, _ = await outcome_of(RIGHT)
    outcome.done = [
        Done(FAULTS["kill_worker"], began=0, whole=1, outage_s=4.0, recovery_s=1),
        Done(FAULTS["kill_triton"], began=0, whole=1, outage_s=4.0, recovery_s=1),
    ]
    (failure,) = outcome.failures(LIMITS)
    assert "kill_worker: a request waited 4.0 s, more than 3 s" in failure


async def test_wrong_vectors_are_excused_only_while_numbers_were_corrupted():
    outcome, _ = await outcome_of((200, {"embeddings": [[1, 1]]}, {}))
    (asked,) = outcome.asked
    outcome.done = [Done(FAULTS["flip_heads"], asked.began, asked.ended, 0, 0)]
    assert outcome.wrong() == [asked]
    outcome.done = [Done(FAULTS["flip_bits"], asked.began, asked.ended, 0, 0)]
    assert outcome.wrong() == []
    assert outcome.report()["wrongWhileBytesWereCorrupted"] == 1


async def test_a_client_that_gets_nothing_goes_to_the_next_front_end():
    with answering(RIGHT) as (address, _), socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        clients = Load([nobody, address], [Question("/embed_text", {}, VECTORS)], clients=1, seed=0)
        await first_request(clients)
    (asked,) = clients.asked
    assert asked.is_right
    assert [answer for _, answer in asked.answers] == ["ConnectError", 200]


async def test_a_server_that_never_answers_loses_the_request(monkeypatch):
    monkeypatch.setattr(load, "TRY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(load, "GIVE_UP_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        clients = Load([address], [Question("/embed_text", {}, VECTORS)], clients=1, seed=0)
        await first_request(clients)
    outcome = Outcome("embedded", clients.asked)
    assert len(outcome.lost()) == 1
    assert set(outcome.answers()) == {"TimeoutError"} or set(outcome.answers()) == {"ReadTimeout"}


async def test_a_report_can_be_written(tmp_path):
    outcome, _ = await outcome_of(RIGHT)
    outcome.memory = {"main": [1.0, 2.0]}
    outcome.done = [Done(FAULTS["reset"], 0, 1, 0.5, 0.25, not_ready=2)]
    report = msgspec.json.decode(msgspec.json.encode(outcome.report()))
    assert report["faults"] == {
        "reset": {"times": 1, "longestOutageS": 0.5, "longestRecoveryS": 0.25, "mostTimesNotReady": 2}
    }
    assert any("reset" in line for line in outcome.lines())
