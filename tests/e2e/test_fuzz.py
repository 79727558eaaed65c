"""The short form of `make fuzz`: no 5xx, no hang, and every answer is as the documents say."""

import http.server
import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_real_server_answers_whatever_it_is_sent_as_its_documents_say():
    path = os.pathsep.join((str(ROOT / "tools"), str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")))
    run = subprocess.run(
        [sys.executable, "-m", "fuzz", "--short"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stdout + run.stderr


class Liar(http.server.BaseHTTPRequestHandler):
    """Documents one route that answers a number, and answers something else."""

    document: ClassVar = {
        "openapi": "3.1.0",
        "info": {"title": "liar", "version": "1"},
        "components": {"schemas": {}},
        "paths": {
            "/number": {
                "get": {
                    "responses": {
                        "200": {"description": "", "content": {"application/json": {"schema": {"type": "integer"}}}}
                    }
                }
            }
        },
    }
    status, body = 200, b"1"

    def do_GET(self):
        is_document = self.path == "/openapi.json"
        body = json.dumps(self.document).encode() if is_document else self.body
        self.send_response(200 if is_document else self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self):
        self.send_response(405)
        self.send_header("allow", "GET")
        self.send_header("content-length", "0")
        self.end_headers()

    do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = do_QUERY = do_TRACE = refuse  # noqa: N815

    def log_message(self, *_arguments):
        pass


@pytest.mark.parametrize(("status", "body"), [(200, b"1"), (200, b'"one"'), (404, b"1")])
def test_an_answer_that_is_not_as_documented_is_found(tmp_path, monkeypatch, status, body):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    documents = importlib.import_module("fuzz.documents")
    monkeypatch.setattr(Liar, "status", status)
    monkeypatch.setattr(Liar, "body", body)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        outcome = documents.fuzz_document(f"http://127.0.0.1:{server.server_port}", tmp_path, 5, 1)
        server.shutdown()
        thread.join()
    assert outcome.cases
    assert bool(outcome.failure) == ((status, body) != (200, b"1"))
