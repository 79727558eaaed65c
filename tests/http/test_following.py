"""What is told of single requests: traces in an OpenTelemetry receiver, ``Server-Timing``, and the access log."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from contextlib import asynccontextmanager, suppress

import pytest

from images import encode, scene
from ingrain.app.followers import close_followers
from ingrain.server.following.access_log import AccessLog
from ingrain.server.following.followers import Followers
from ingrain.settings import Settings
from ingrain.timeline import STAGES, traceparent
from otlp_receiver import attributes, otlp_receiver
from picture_server import PictureServer, answer
from planes import running_planes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SECRET = "w7 w8 green"


@asynccontextmanager
async def followed(root, settings):
    """Run both planes, and write what is left when they have ended."""
    async with running_planes(root, settings) as planes:
        await planes.load()
        yield planes
    await close_followers(planes.services)


@pytest.fixture
def receiver(monkeypatch):
    with otlp_receiver() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "vectors")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield received


async def test_each_stage_is_a_span_under_the_callers_trace(tmp_path, receiver):
    """Texts over two dialects, and a picture that is fetched: each with all of its stages, within its span."""
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    async with PictureServer(replies={"/a.png": answer(encode(scene(30, 20), "PNG"))}) as host:
        settings = Settings(fetch_allow=(f"127.0.0.1:{host.port}",))
        async with followed(tmp_path, settings) as planes:
            await planes.load("clip", "open_clip")
            for path, body in (
                ("/embed_text", {"name": "org/model", "text": [SECRET, "red"]}),
                ("/v1/embeddings", {"model": "org/model", "input": [SECRET + " w9"]}),
                ("/embed_image", {"name": "clip", "image": host.url("/a.png")}),
            ):
                assert (await planes.inference.post(path, json=body, headers=headers)).status_code == 200
    seen = receiver.trace(TRACE)
    text_stages = set(STAGES) - {"fetch", "decode"}
    for path, stages, items in (
        ("/embed_text", text_stages, 2),
        ("/v1/embeddings", text_stages, 1),
        ("/embed_image", set(STAGES) - {"tokenize"}, 1),
    ):
        (server,) = seen[f"POST {path}"]
        assert server.parent_span_id.hex() == CALLER
        parts = {name: span for name, spans in seen.items() for span in spans if span.parent_span_id == server.span_id}
        assert set(parts) == stages
        for span in parts.values():
            assert server.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= server.end_time_unix_nano
        told = attributes(server)
        assert (told["http.route"], told["http.response.status_code"], told["ingrain.items"]) == (path, 200, items)
        assert told["ingrain.model"] in ("org/model", "clip")
    assert SECRET not in str(receiver.spans)
    assert {one["service.name"] for one in receiver.resources} == {"vectors"}


async def test_a_batch_of_several_requests_is_linked_to_each(tmp_path, receiver, monkeypatch):
    """Of eight requests most share a batch: the engine is told its span, which has links, and each trace has a span."""
    traces = [f"{number:032x}" for number in range(1, 9)]
    async with followed(tmp_path, Settings(cache_bytes=0)) as planes:
        planes.engine.latency_s = 0.05
        sent, infer = [], planes.engine.infer

        async def look(*arguments, **options):
            sent.append(traceparent.get())
            return await infer(*arguments, **options)

        monkeypatch.setattr(planes.engine, "infer", look)
        done = await asyncio.gather(
            *(
                planes.inference.post(
                    "/embed_text",
                    json={"name": "org/model", "text": f"w{number}"},
                    headers={"traceparent": f"00-{trace}-{CALLER}-01"},
                )
                for number, trace in enumerate(traces)
            )
        )
        assert {one.status_code for one in done} == {200}
    batches = [span for span in receiver.spans if span.name == "infer" and len(span.links) > 1]
    assert batches
    assert {f"00-{batch.trace_id.hex()}-{batch.span_id.hex()}-01" for batch in batches} <= set(sent)
    servers = {trace: receiver.trace(trace)["POST /embed_text"][0] for trace in traces}
    for batch in batches:
        linked = {link.trace_id.hex(): link.span_id for link in batch.links}
        assert len(linked) == attributes(batch)["ingrain.batch_items"]
        for trace, span_id in linked.items():
            assert servers[trace].span_id == span_id
            (own,) = receiver.trace(trace)["infer"]
            assert own is batch or own.links[0].span_id == batch.span_id


@pytest.mark.parametrize("given", ["", "00-zz-1-01", f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01"])
async def test_a_caller_without_a_valid_trace_gets_a_new_one(tmp_path, receiver, given):
    async with followed(tmp_path, Settings()) as planes:
        asked = {"name": "org/model", "text": "red"}
        assert (
            await planes.inference.post("/embed_text", json=asked, headers={"traceparent": given})
        ).status_code == 200
    (span,) = [one for one in receiver.spans if one.name == "POST /embed_text"]
    assert span.trace_id.hex() not in (TRACE, "0" * 32)
    assert not span.parent_span_id


async def test_what_is_not_sampled_is_not_sent(tmp_path, receiver, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with followed(tmp_path, Settings()) as planes:
        await planes.embed("red")
        sampled = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        await planes.inference.post("/embed_text", json={"name": "org/model", "text": "red"}, headers=sampled)
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}


async def test_a_collector_that_hangs_delays_no_stop_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr("ingrain.app.followers._LAST_S", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")

    async def never(writer):
        await asyncio.sleep(60)

    async with PictureServer(replies={"/v1/traces": never}) as host:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", host.url("").rstrip("/"))
        before = threading.enumerate()
        async with running_planes(tmp_path, Settings()) as planes:
            await planes.load()
            assert (await planes.embed("red")).status_code == 200
            threads = threading.enumerate()
        (sender,) = [one for one in threads if one.name.startswith("OtelBatch") and one not in before]
        async with asyncio.timeout(20):
            await close_followers(planes.services)
    # Its connection is closed now, and nothing tries again: a thread that did would last for a minute.
    async with asyncio.timeout(20):
        await asyncio.to_thread(sender.join)


async def test_nothing_is_followed_unless_a_setting_says_so(tmp_path):
    async with running_planes(tmp_path, Settings()) as planes:
        assert planes.services.followers is None


async def test_server_timing_tells_the_stages_in_answers_and_errors(tmp_path):
    async with followed(tmp_path, Settings(server_timing=True)) as planes:
        done = await planes.embed(["red", "green"])
        times = dict(re.findall(r"(\w+);dur=([\d.]+)", done.headers["server-timing"]))
        assert [*times] == ["parse", "tokenize", "queue", "infer", "finish", "total"]
        stages = [float(value) for name, value in times.items() if name != "total"]
        assert sum(stages) <= float(times["total"]) + 0.01
        missing = await planes.embed("red", "no/model")
        assert missing.status_code == 404
        assert re.fullmatch(r"total;dur=[\d.]+", missing.headers["server-timing"])


class Lines:
    """Takes the lines of the access log as they are written."""

    def __init__(self, monkeypatch):
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")
        monkeypatch.setattr("ingrain.app.logs.log_stream", lambda: self.stream)

    def fill(self):
        """Write as much as the pipe holds."""
        descriptor = self.stream.fileno()
        os.set_blocking(descriptor, False)
        with suppress(BlockingIOError):
            while True:
                os.write(descriptor, b"x" * 4096)
        os.set_blocking(descriptor, True)

    def all(self):
        self.stream.close()
        with os.fdopen(self.reader, encoding="utf-8") as read:
            return read.read().splitlines()


@pytest.mark.parametrize("style", ["text", "json"])
async def test_the_access_log_has_a_line_for_each_request_without_its_text(tmp_path, monkeypatch, style):
    lines = Lines(monkeypatch)
    async with followed(tmp_path, Settings(access_log="all", log_format=style)) as planes:
        asked = {"name": "org/model", "text": [SECRET, "red"]}
        await planes.inference.post("/embed_text", json=asked, headers={"X-Request-Id": "mine-1"})
        await planes.embed("red", "no/model")
    written = lines.all()
    (one,) = [line for line in written if "mine-1" in line]
    assert not any(SECRET in line or "no/model" in line for line in written)
    assert any("/embed_text 404" in line for line in written)
    if style == "text":
        assert re.search(r"ingrain\.access: POST /embed_text 200 requestId=mine-1 ms=[\d.]+ model=org/model", one)
        return
    told = json.loads(one)
    assert (told["logger"], told["level"], told["status"]) == ("ingrain.access", "info", 200)
    assert (told["model"], told["task"], told["items"], told["tokens"]) == ("org/model", "embed_text", 2, 8)
    assert told["receivedBytes"] > 40
    assert told["sentBytes"] > 40
    assert {"parse", "tokenize", "queue", "infer", "finish", "write"} == set(told["stagesMs"])


async def test_a_sampled_access_log_has_one_in_so_many_and_every_refusal(tmp_path, monkeypatch):
    lines = Lines(monkeypatch)
    settings = Settings(access_log="sampled", access_log_sample=5, max_requests=1, log_format="json")
    async with followed(tmp_path, settings) as planes:
        for _ in range(20):
            assert (await planes.embed("red")).status_code == 200
        planes.engine.latency_s = 0.2
        crowd = await asyncio.gather(*(planes.embed(f"w{number}") for number in range(6)))
        refused = sum(one.status_code == 429 for one in crowd)
    told = [json.loads(line) for line in lines.all()]
    assert refused
    assert sum(one["status"] == 429 for one in told) == refused
    assert 4 <= sum(one["status"] == 200 for one in told) <= 6


async def test_a_reader_that_does_not_read_holds_up_nothing(tmp_path, monkeypatch):
    """The pipe is full: requests are answered, the log's memory is bounded, and the log says what it left out."""
    monkeypatch.setattr("ingrain.server.following.access_log._MOST_WAITING", 50)
    monkeypatch.setattr("ingrain.server.following.access_log._EVERY_S", 0.0)
    lines = Lines(monkeypatch)
    async with running_planes(tmp_path, Settings(access_log="all", log_format="json")) as planes:
        await planes.load()
        lines.fill()
        for _ in range(80):
            assert (await planes.embed("red")).status_code == 200
        told = b""
        while b"leftOut" not in told:
            assert (await planes.embed("red")).status_code == 200
            told += await asyncio.to_thread(os.read, lines.reader, 1_000_000)
    await asyncio.to_thread(planes.services.followers.close)
    lines.all()


def test_an_access_log_and_followers_can_be_closed_unused():
    Followers(access_log=AccessLog(lambda _: None)).close()
