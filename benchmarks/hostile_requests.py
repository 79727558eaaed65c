"""Measures how much one client that sends the worst requests of a kind slows down eight ordinary clients.

The ordinary clients send short texts in a closed loop. Rounds without and with the hostile client alternate; the
hostile client is a process of its own that repeats one request as fast as it is answered. Reported are the medians of
the ordinary clients' p99, and the front end's largest resident memory, which is counted from its start.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import psutil
from PIL import Image

from bare import median
from chaos.models import PICTURES, write_repository
from ingrain.bench.load import Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from measure import StolenTime, common_options, print_report, run_facts, run_loop
from server import running_server

_TEXT_BODY = 16 * 2**20
_IMAGE_BODY = 64 * 2**20
_LONGEST_TEXT = 198_000
_CLIENT = r"""
import http.client, json, sys, time
port, path, body, headers = int(sys.argv[1]), sys.argv[2], open(sys.argv[3], "rb").read(), json.loads(sys.argv[4])
counts = {}
end = time.monotonic() + float(sys.argv[5])
while time.monotonic() < end:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
    except OSError as error:
        status = type(error).__name__
    finally:
        connection.close()
    counts[status] = counts.get(status, 0) + 1
print(counts)
"""
_HOST = r"""
import socket, sys, threading, time
kind = sys.argv[1]
listener = socket.create_server(("127.0.0.1", 0), backlog=256)
print(listener.getsockname()[1], flush=True)
def serve(connection):
    try:
        connection.recv(65536)
        if kind == "hints":
            block = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 500
            while True:
                connection.sendall(block)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1\r\nx\r\n" * 2000)
    except OSError:
        connection.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

Request = tuple[str, bytes, dict[str, str]]
"""Path, body and header fields of a hostile request."""


def main() -> None:
    options = _options()
    hosts = {kind: _start_host(kind) for kind in ("hints", "chunks")}
    kinds = {
        "long texts": _long_texts(options.model),
        "unknown field": _unknown_field("/embed_text", options.model, _TEXT_BODY),
        "unknown field of images": _unknown_field("/embed_image", PICTURES, _IMAGE_BODY),
        "gzip": _gzip(options.model),
        "form of many parts": _form(),
        "large pictures": _large_pictures(),
        **{f"fetch of {kind}": _fetch(port) for kind, (_, port) in hosts.items()},
    }
    requests = [
        http_request("/embed_text", {"name": options.model, "text": text}) for text in make_texts("query", 5000)
    ]
    report: dict[str, dict[str, float | str]] = {}
    stolen = StolenTime()
    try:
        with tempfile.TemporaryDirectory(prefix="ingrain-hostile-") as folder:
            repository = Path(folder) / "repository"
            shutil.copytree(options.repository, repository, symlinks=True)
            write_repository(repository)
            models = f"{options.model},timm:{PICTURES}"
            flags = {"INGRAIN_FETCH_ALLOW": ",".join(f"127.0.0.1:{port}" for _, port in hosts.values())}
            for kind, request in kinds.items():
                if options.kinds and kind not in options.kinds:
                    continue
                with running_server(repository, options.models_dir, models, **flags) as server:
                    measure = _measure(server.inference_port, requests, options)
                    measure(None)
                    rates, alone, beside, answers = [], [], [], ""
                    for _ in range(options.rounds):
                        before, _ = measure(None)
                        during, answers = measure((request, Path(folder)))
                        alone.append(before)
                        beside.append(during)
                        rates.append(during / before)
                    report[kind] = {
                        "p99MsAlone": median(alone),
                        "p99MsBeside": median(beside),
                        "ratio": median(rates),
                        "peakMiB": round(_peak_mib(server.process.pid)),
                        "answers": answers,
                    }
                    print(f"{kind}: {report[kind]}", flush=True)
    finally:
        for process, _ in hosts.values():
            process.kill()
    print_report({**run_facts(options.model), "stolen": stolen.share(), "kinds": report}, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=8)
    parser.add_argument("--kinds", nargs="*", default=[], help="kinds of hostile requests; all by default")
    return parser.parse_args()


def _measure(
    port: int, requests: list[bytes], options: argparse.Namespace
) -> Callable[[tuple[Request, Path] | None], tuple[float, str]]:
    """Return a function that measures p99 in ms of one round, and what the hostile client was answered."""

    def measure(hostile: tuple[Request, Path] | None) -> tuple[float, str]:
        process = None
        if hostile is not None:
            (path, body, headers), folder = hostile
            file = folder / "body"
            file.write_bytes(body)
            arguments = [str(port), path, str(file), orjson.dumps(headers).decode(), str(options.seconds)]
            process = subprocess.Popen([sys.executable, "-c", _CLIENT, *arguments], stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
        result = run_loop(
            closed_loop(Target("127.0.0.1", port), requests, clients=options.clients, seconds=options.seconds)
        )
        if set(result.statuses) - {200} or result.lost:
            raise SystemExit(f"ordinary clients failed: {result.statuses}, {result.lost} lost")
        answers = process.communicate(timeout=180)[0].strip() if process is not None else ""
        return result.percentile_ms(0.99), answers

    return measure


def _json(path: str, body: dict[str, object]) -> Request:
    return path, orjson.dumps(body), {"Content-Type": "application/json"}


def _long_texts(model: str) -> Request:
    words = " ".join(make_texts("lognormal", 3000))
    text = (words * (1 + _LONGEST_TEXT // len(words)))[:_LONGEST_TEXT]
    return _json("/embed_text", {"name": model, "text": [text] * (_TEXT_BODY // len(text) - 1)})


def _unknown_field(path: str, model: str, size: int) -> Request:
    body = b'{"name":"%s","extra":[' % model.encode() + b"[]," * ((size - 200) // 3) + b"[]]}"
    return path, body, {"Content-Type": "application/json"}


def _gzip(model: str) -> Request:
    path, body, headers = _unknown_field("/embed_text", model, _TEXT_BODY)
    return path, gzip.compress(body), {**headers, "Content-Encoding": "gzip"}


def _form() -> Request:
    part = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n'
    body = part * ((_IMAGE_BODY - 100) // len(part)) + b"--b--\r\n"
    return "/embed_image", body, {"Content-Type": "multipart/form-data; boundary=b"}


def _large_pictures() -> Request:
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60)
    picture = base64.b64encode(file.getvalue()).decode()
    count = max(1, (_IMAGE_BODY - 1000) // len(picture))
    return _json("/embed_image", {"name": PICTURES, "image": [picture] * min(count, 32)})


def _fetch(port: int) -> Request:
    return _json("/embed_image", {"name": PICTURES, "image": [f"http://127.0.0.1:{port}/{n}" for n in range(32)]})


def _start_host(kind: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, "-c", _HOST, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _peak_mib(pid: int) -> float:
    """Return the largest resident memory so far of a server's main process, in MiB."""
    text = Path(f"/proc/{psutil.Process(pid).pid}/status").read_text(encoding="ascii")
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
