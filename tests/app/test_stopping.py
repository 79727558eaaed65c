"""Signals to a real server: what it answers before it ends, when it ends, and with which code."""

import signal
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest

from processes import serve, still_running

SLOW_HUB = """
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
held = []
while True:
    held.append(listener.accept()[0])
"""


@pytest.fixture(autouse=True)
def hangups_count():
    """Let servers be ended by SIGHUP even if these tests were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def silent_hub():
    """A hub that takes connections and never answers, so that a load lasts."""
    with subprocess.Popen([sys.executable, "-c", SLOW_HUB], stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def load_in_a_thread(server):
    answers = []

    def load() -> None:
        body = {"name": "org/model", "library": "sentence_transformers"}
        answers.append(httpx.post(f"{server.model}/load_model", json=body, timeout=60))

    thread = threading.Thread(target=load)
    thread.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if httpx.get(f"{server.model}/repository_models", timeout=30).json()["models"]:
            break
        time.sleep(0.05)
    return thread, answers


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]])
def test_a_load_in_progress_is_answered_before_the_server_ends(tmp_path, silent_hub, signals):
    with serve(tmp_path, "--engine=onnxruntime", HF_ENDPOINT=silent_hub, HF_HOME=str(tmp_path / "hub")) as server:
        thread, answers = load_in_a_thread(server)
        family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
        started = time.monotonic()
        for number in signals:
            server.process.send_signal(number)
            time.sleep(0.2)
        assert server.process.wait(60) == 0, server.log.read_text()
        thread.join(60)
        (answer,) = answers
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "shutting down" in answer.json()["message"]
        assert time.monotonic() - started < 18  # INGRAIN_SHUTDOWN_TIMEOUT_S is 20
        assert not still_running(family)
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("pause_s", [0.0, 0.3, 1.5])
def test_a_signal_while_the_engine_starts_ends_the_server_and_leaves_nothing(tmp_path, pause_s):
    with serve(tmp_path) as server:  # it listens, and starts the embedded Triton
        time.sleep(pause_s)
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop(60) == 0, server.log.read_text()
        assert not still_running(family)
        assert "Traceback" not in server.log.read_text()


def test_a_hangup_is_ignored_where_nohup_says_so(tmp_path):
    with serve(tmp_path, "--engine=onnxruntime", program=("nohup", sys.executable)) as server:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert httpx.get(f"{server.inference}/health", timeout=30).status_code == 200
        assert server.stop() == 0
