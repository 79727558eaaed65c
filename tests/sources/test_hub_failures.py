import errno
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_model import MODEL, SILENCE_S, TRIES, WEIGHTS, Fetcher

from hub_protocol import File
from hub_server import Cut, Drip, Garble, HubServer, IgnoreRange, Silence, Status
from ingrain.errors import (
    DiskFullError,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from ingrain.sources.cache import PARTIAL_SUFFIX

HALF = len(WEIGHTS) // 2


def ranges(hub: HubServer) -> list[str | None]:
    return [request.headers.get("range") for request in hub.gets("model.safetensors")]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_cut_halfway_goes_on_from_there(hub: HubServer, fetch: Fetcher, reset: bool) -> None:
    """After a cut only the rest is asked for, and the bytes are the same."""
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Cut(after_bytes=HALF, reset=reset))
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    first, second = ranges(hub)
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= HALF
    done = [event.done for event in fetch.progress]
    assert done == sorted(done)


def test_many_cuts_are_no_failure_while_bytes_arrive(hub: HubServer, fetch: Fetcher) -> None:
    """More cuts than there are retries: the count starts over whenever something arrived."""
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Cut(after_bytes=200_000), times=TRIES + 3)
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(ranges(hub)) == TRIES + 3 + 1


def test_next_try_goes_on_after_patience_ended(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Cut(after_bytes=HALF))
    hub.fail("model.safetensors", Cut(after_bytes=0), times=TRIES * 3 - 1)
    with pytest.raises(SourceUnavailableError, match="continues from there") as caught:
        fetch()
    assert caught.value.retry_after_s
    before = len(ranges(hub))
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    (resumed,) = ranges(hub)[before:]
    assert resumed is not None


def test_killed_process_loses_no_bytes(hub: HubServer, fetch: Fetcher) -> None:
    """What a process had fetched when it was killed is not fetched again by the next one."""
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Silence(after_bytes=HALF, seconds=60))
    code = (
        "from ingrain.sources.resolve import resolve\n"
        "from ingrain.export.process.job import ExportJob\n"
        "resolve(ExportJob(name='org/model', library='sentence_transformers', output='-'), lambda progress: None)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(fetch.cache_dir)}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment)
    partial = fetch.weights().with_name(fetch.weights().name + PARTIAL_SUFFIX)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 0):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    child.kill()
    child.wait()
    kept = partial.stat().st_size
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    assert ranges(hub)[-1] == f"bytes={kept}-"
    assert not partial.exists()


def test_server_that_ignores_the_range_is_taken_from_the_start(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Cut(after_bytes=HALF))
    hub.fail("model.safetensors", IgnoreRange())
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    done = [event.done for event in fetch.progress]
    assert done == sorted(done)


def test_wrong_bytes_never_become_a_file(hub: HubServer, fetch: Fetcher) -> None:
    """A digest that does not match is fetched anew once, and then refused."""
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Garble())
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    shutil.rmtree(fetch.cache_dir)
    hub.fail("vocab.txt", Garble(), times=2)
    with pytest.raises(SourceUnavailableError, match="checksum"):
        fetch()
    assert not list(fetch.cache_dir.rglob("vocab.txt"))


@pytest.mark.parametrize("stale", [WEIGHTS + b"more", b"other bytes altogether", b""])
def test_foreign_partial_is_thrown_away(hub: HubServer, fetch: Fetcher, stale: bytes) -> None:
    hub.add("org/model", MODEL)
    partial = fetch.weights().with_name(fetch.weights().name + PARTIAL_SUFFIX)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(stale)
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not partial.exists()


def test_partials_that_nobody_wants_any_more_are_deleted(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    old, fresh = (fetch.weights().with_name(name * 40 + PARTIAL_SUFFIX) for name in "ab")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    fresh.write_bytes(b"fresh")
    os.utime(old, (0, time.time() - 8 * 24 * 3600))
    fetch()
    assert not old.exists()
    assert fresh.exists()


def test_two_processes_fetch_the_weights_once(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Drip(chunk_bytes=400_000, pause_s=0.1))
    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert fetch.weights().read_bytes() == WEIGHTS
    assert len(ranges(hub)) == 1


def test_silence_ends_in_an_error_and_slowness_does_not(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    hub.fail("vocab.txt", Silence(after_bytes=0, seconds=30), times=TRIES)
    start = time.monotonic()
    with pytest.raises(SourceUnavailableError):
        fetch()
    assert time.monotonic() - start < TRIES * SILENCE_S + 3
    hub.fail("vocab.txt", Drip(chunk_bytes=2, pause_s=SILENCE_S / 3))
    start = time.monotonic()
    fetch()
    assert time.monotonic() - start > SILENCE_S


@pytest.mark.parametrize("path", ["/api/models/", "model.safetensors"])
@pytest.mark.parametrize("status", [Status(code=502), Status(code=429, retry_after_s=1)], ids=["502", "429"])
def test_passing_errors_are_asked_again(hub: HubServer, fetch: Fetcher, path: str, status: Status) -> None:
    hub.add("org/model", MODEL)
    hub.fail(path, status)
    start = time.monotonic()
    assert (fetch().folder / "model.safetensors").read_bytes() == WEIGHTS
    assert time.monotonic() - start >= (status.retry_after_s or 0)
    assert len(hub.gets(path)) == 2


def test_long_retry_after_is_passed_on_instead_of_waited_for(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    hub.fail("/api/models/", Status(code=429, retry_after_s=900))
    with pytest.raises(SourceUnavailableError, match="429") as caught:
        fetch()
    assert caught.value.retry_after_s == 900


def test_gated_model_wants_the_token_and_the_licence(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/gated", MODEL, gated=True)
    with pytest.raises(SourceForbiddenError, match=r"gated: accept its licence.*HF_TOKEN"):
        fetch("org/gated")
    assert (fetch("org/gated", token=hub.token).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_private_model_opens_with_the_token(hub: HubServer, fetch: Fetcher) -> None:
    """Without one the hub does not say whether there is such a model, so neither can we."""
    hub.add("org/private", MODEL, private=True)
    with pytest.raises(SourceNotFoundError, match=r"private.*HF_TOKEN"):
        fetch("org/private")
    assert (fetch("org/private", token=hub.token).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_wrong_token_is_forbidden_and_not_repeated(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    with pytest.raises(SourceForbiddenError, match="HF_TOKEN") as caught:
        fetch(token="hf_secret_but_wrong")
    assert "hf_secret" not in str(caught.value)
    assert hub.url not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_weights_are_forbidden(hub: HubServer, fetch: Fetcher, status: int) -> None:
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Status(code=status))
    with pytest.raises(SourceForbiddenError):
        fetch()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "reason"),
    [("127.0.0.1", "nothing listens at its address"), ("hub.invalid", "its name cannot be resolved")],
)
def test_an_unreachable_hub_is_told_at_once(
    fetch: Fetcher, monkeypatch: pytest.MonkeyPatch, host: str, reason: str
) -> None:
    """No retry here, and nothing that makes a client try again: what is wrong is the address or the network."""
    resolve, asked = socket.getaddrinfo, []

    def resolve_known(name: str, *options: object) -> object:
        asked.append(name)
        if name == "hub.invalid":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(name, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_known)
    port = closed_port()
    with pytest.raises(SourceUnavailableError, match=reason) as caught:
        fetch(endpoint=f"http://{host}:{port}")
    assert asked == [host]
    assert caught.value.retry_after_s is None
    assert str(port) not in str(caught.value)


@pytest.mark.parametrize("path", ["/api/models/", "model.safetensors"])
def test_progress_reports_retries(hub: HubServer, fetch: Fetcher, path: str) -> None:
    hub.add("org/model", MODEL)
    hub.fail(path, Status(code=503))
    fetch()
    assert any("retrying" in event.detail for event in fetch.progress)


def test_progress_says_that_a_broken_connection_is_continued(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    hub.fail("model.safetensors", Cut(after_bytes=HALF))
    fetch()
    assert "model.safetensors: the download failed; retrying" in [event.detail for event in fetch.progress]


def test_a_file_that_is_longer_than_the_listing_says_is_refused(
    hub: HubServer, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/model", MODEL)
    send = File.read
    monkeypatch.setattr(File, "read", lambda file, start: send(file, start) + b"and more")
    with pytest.raises(SourceUnavailableError, match="checksum"):
        fetch()
    assert not fetch.weights().exists()


def test_unreachable_hub_does_not_matter_where_the_cache_has_the_model(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    assert fetch() == fetch(endpoint=f"http://127.0.0.1:{closed_port()}")


COMMIT, DIGEST = "a" * 40, "b" * 40


def listing(commit: str, path: str, digest: str) -> bytes:
    return json.dumps(
        {"id": "org/model", "sha": commit, "siblings": [{"rfilename": path, "size": 1, "blobId": digest}]}
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>please log in</html>",
        b"{}",
        b"[]",
        listing("../../..", "model.safetensors", DIGEST),
        listing(COMMIT, "../../model.safetensors", DIGEST),
        listing(COMMIT, "model.safetensors", "../../x"),
    ],
    ids=["login page", "nothing", "list", "commit climbs", "path climbs", "digest climbs"],
)
def test_answers_that_are_not_the_hubs_are_refused(fetch: Fetcher, body: bytes) -> None:
    """A login page, or a hostile hub whose names would climb out of the cache."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            with pytest.raises(SourceUnavailableError, match="HF_ENDPOINT"):
                fetch(endpoint=f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
    assert not list(fetch.cache_dir.rglob("*"))


def test_full_disk_is_said_before_the_download(hub: HubServer, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", MODEL)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DiskFullError, match=r"disk .* is full"):
        fetch()
    assert hub.gets("/resolve/") == []


def test_disk_that_fills_up_meanwhile_is_said_too(
    hub: HubServer, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/model", MODEL)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"disk .* is full") as caught:
        fetch()
    assert "/secret" not in str(caught.value)


def test_cache_that_is_a_file_gives_a_clear_error(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    Path(fetch.cache_dir).write_text("not a folder")
    with pytest.raises(SourceUnavailableError, match="ENOTDIR"):
        fetch()


def test_digest_of_the_weights_is_the_name_of_their_blob(hub: HubServer, fetch: Fetcher) -> None:
    hub.add("org/model", MODEL)
    fetch()
    assert fetch.weights().name == hashlib.sha256(fetch.weights().read_bytes()).hexdigest()
