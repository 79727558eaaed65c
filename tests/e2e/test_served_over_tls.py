"""A server with a certificate of a private authority: HTTPS on both planes, in one process and with workers."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme

from ingrain import Client, ServerUnreachableError
from processes import MINILM, serve

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("workers", [1, 2])
def test_both_planes_are_served_over_tls(ready_repository, local_models, monkeypatch, workers):
    """A bare HTTP client, Ingrain's client, the command line and the container's health check reach the server."""
    ca = trustme.CA()
    made = ca.issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(ready_repository / "server.pem")
    ca.cert_pem.write_to_path(ready_repository / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(ready_repository / "ca.pem"))
    files = {
        "INGRAIN_TLS_CERT_FILE": str(ready_repository / "server.pem"),
        "INGRAIN_TLS_KEY_FILE": str(ready_repository / "server.pem"),
    }
    flags = (f"--local-models-dir={local_models}", f"--models={MINILM}", f"--workers={workers}")
    with serve(ready_repository, *flags, **files) as server:
        assert server.inference.startswith("https://")
        server.wait_until_ready()
        with httpx.Client() as client:  # several requests on one connection
            for _ in range(3):
                answer = client.post(f"{server.inference}/embed_text", json={"name": MINILM, "text": "a river"})
                assert len(answer.json()["embeddings"][0]) == 384
        with Client(server.inference, server.model) as ours:
            assert ours.embed_text(MINILM, "a river").numpy().shape == (1, 384)
            assert MINILM in str(ours.loaded_models())
        plain = httpx.URL(server.inference).copy_with(scheme="http")
        with pytest.raises(httpx.HTTPError):
            httpx.get(plain)
        for command in (
            ["models"],
            ["bench", f"--url={server.inference}", f"--model={MINILM}", "--clients=2", "--seconds=0.5", "--texts=50"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "ingrain", *command],
                env={**os.environ, "INGRAIN_MODEL_URL": server.model},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert MINILM in done.stdout, done.stderr
        port = str(httpx.URL(server.inference).port)
        health = [sys.executable, ROOT / "docker" / "health.py"]
        subprocess.run(health, env={**files, "INGRAIN_INFERENCE_PORT": port}, check=True, timeout=60)
        server.wait_until(lambda: "Ingrain is ready" in server.log.read_text(), 60)
        monkeypatch.delenv("SSL_CERT_FILE")
        with Client(server.inference, server.model) as ours, pytest.raises(ServerUnreachableError):
            ours.loaded_models()
        assert server.stop() == 0
        log = server.log.read_text()
    assert f"inference plane {server.inference}" in log
    assert "Traceback" not in log
