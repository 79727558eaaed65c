"""`ingrain load` against a real server and a hub of our own: its phases, and what will not work told at once."""

import os
import re
import subprocess
import sys
import time

import pytest

from hub_server import Cut, Drip, HubServer
from processes import MINILM, serve

pytestmark = pytest.mark.slow
# Three seconds on a machine of its own, twenty beside tests that convert models; what is tried again takes two minutes.
SOON_S = 60
NOWHERE = "http://127.0.0.1:9"


def load(model_url, name, *flags, **environment):
    """Run the command; return its exit status, what it complained, and how long it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ingrain", "load", name, *flags],
        env={**os.environ, "INGRAIN_MODEL_URL": model_url, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.returncode, done.stderr, time.monotonic() - started


def test_what_cannot_be_had_is_told_at_once_and_leaves_no_traceback(tmp_path):
    """An unknown model, a wrong key, a hub that nobody answers for, a server that does not run."""
    with HubServer() as hub, serve(tmp_path / "a", HF_ENDPOINT=hub.url, INGRAIN_API_KEYS="secret") as server:
        unknown = load(server.model, "org/none", INGRAIN_API_KEY="secret")
        wrong_key = load(server.model, "org/none", INGRAIN_API_KEY="guessed")
        log = server.log.read_text()
    with serve(tmp_path / "b", HF_ENDPOINT=NOWHERE) as server:
        no_hub = load(server.model, "org/none")
        log += server.log.read_text()
    no_server = load(NOWHERE, "org/none")
    for (status, complained, seconds), expected_status, words in (
        (unknown, 1, "hub has no model 'org/none'"),
        (wrong_key, 1, "API key"),
        (no_hub, 1, "hub 127.0.0.1 cannot be reached"),
        (no_server, 3, "No server answers"),
    ):
        assert (status, words in complained) == (expected_status, True), complained
        assert seconds < SOON_S
    assert "Traceback" not in log


def test_a_load_shows_its_phases_as_they_come(tmp_path, small_models):
    """Without a terminal a line for each, in the order of the work; of a gated model, through a line that breaks.

    Without a token the server refuses it.
    """
    folder = small_models / MINILM
    with HubServer() as hub:
        hub.add("org/gated", folder, gated=True)
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", "HF_HUB_OFFLINE": ""}
        with serve(tmp_path, "--engine=onnxruntime", **variables) as server:
            answer = server.load("org/gated")
            assert answer.status_code == 400
            assert "HF_TOKEN" in answer.json()["message"]
        hub.fail("model.safetensors", Cut(after_bytes=(folder / "model.safetensors").stat().st_size // 3))
        hub.fail("model.safetensors", Drip(chunk_bytes=20_000, pause_s=0.1))
        with serve(tmp_path, "--engine=onnxruntime", **variables | {"HF_TOKEN": hub.token}) as server:
            status, complained, _ = load(server.model, "org/gated")
            _, quiet, _ = load(server.model, "org/gated", "--json")
            (vector,) = server.embed("text", name="org/gated").json()["embeddings"]
        ranges = [request.headers.get("range") for request in hub.gets("model.safetensors")]
    assert status == 0, complained
    phases = re.findall(r"^Loading org/gated: (\w+)$", complained, re.MULTILINE)
    assert phases.index("downloading") < phases.index("converting")
    # It also says "loading" where it asks before the first step is known, as on a busy machine.
    steps = [phase for phase in phases if phase != "loading"]
    assert len(steps) == len(set(steps))
    assert quiet == ""
    assert abs(sum(value * value for value in vector) - 1) < 1e-5
    assert any(wanted and wanted != "bytes=0-" for wanted in ranges)
