"""`ingrain bench` against a real server in this process: what it counts is what the server saw."""

import asyncio
import contextlib
import json
import re
import sys
import xml.etree.ElementTree as ET

import httpx
import pytest

from ingrain.bench.load import (
    Connection,
    LoadResult,
    Target,
    closed_loop,
    embedding_request,
    http_request,
    open_loop,
)
from ingrain.bench.plot import draw, write_plot
from ingrain.bench.run import BenchOptions, run_bench
from ingrain.cli.main import main
from ingrain.errors import EngineUnavailableError, IngrainError, SettingsError
from ingrain.settings import Settings
from planes import WIDTH, running_planes


@contextlib.asynccontextmanager
async def loaded(tmp_path, settings=None, key=None):
    async with running_planes(tmp_path, settings or Settings(cache_bytes=0)) as planes:
        await planes.load(key=key)
        yield planes, Target("127.0.0.1", planes.inference.base_url.port)


def requests(count: int = 50) -> list[bytes]:
    return [http_request("/embed_text", {"name": "org/model", "text": f"w{n}"}) for n in range(count)]


async def test_a_closed_loop_keeps_its_clients_busy_and_counts_every_answer(tmp_path):
    async with loaded(tmp_path) as (planes, target):
        planes.engine.latency_s = 0.02
        result = await closed_loop(target, requests(), clients=4, seconds=0.6)
        answered = planes.services.telemetry.counts().answers["/embed_text"][200]
    assert result.statuses == {200: answered}
    assert result.failed == 0
    assert 0.6 <= result.seconds < 2
    # Four clients, each with about 20 ms in the engine and something in between.
    assert 20 < answered <= 4 * 0.62 / 0.02 + 4
    assert result.percentile_ms(0.5) >= 20


async def test_a_closed_loop_without_an_end_sends_every_request_once(tmp_path):
    async with loaded(tmp_path) as (planes, target):
        result = await closed_loop(target, requests(30), clients=4, seconds=None)
        few = await closed_loop(target, requests(2), clients=4, seconds=None)
        assert planes.services.telemetry.counts().answers["/embed_text"][200] == 32
    assert (result.statuses, few.statuses) == ({200: 30}, {200: 2})
    assert result.requests_per_s == pytest.approx(30 / result.seconds)


@pytest.mark.parametrize(
    ("answers", "media_type"),
    [("json", "application/json"), ("base64", "application/json"), ("raw", "application/octet-stream")],
)
async def test_vectors_are_answered_as_was_asked(tmp_path, answers, media_type):
    async with loaded(tmp_path) as (_, target):
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(embedding_request("/embed_text", {"name": "org/model", "text": "red"}, answers))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = await reader.readexactly(int(re.search(r"content-length: (\d+)", head)[1]))
        writer.close()
        url = f"http://{target.host}:{target.port}"
        report, _ = await asyncio.to_thread(
            run_bench, BenchOptions(url=url, model="org/model", seconds=0.2, warm_up_s=0, answers=answers)
        )
    assert f"content-type: {media_type}\r\n" in head
    if answers == "raw":
        assert len(body) == 4 * WIDTH
    else:
        (vector,) = json.loads(body)["embeddings"]
        assert isinstance(vector, str) == (answers == "base64")
    assert (report["answers"], report["errors"]) == (answers, 0)


async def test_an_open_loop_counts_latency_from_the_intended_moment(tmp_path):
    """One connection and 50 ms in the engine serve 20 a second; at 100 a second the queue here grows, and is told."""
    async with loaded(tmp_path) as (planes, target):
        planes.engine.latency_s = 0.05
        slow = await open_loop(target, requests(), rate=100, seconds=0.5, connections=1)
        fast = await open_loop(target, requests(), rate=100, seconds=0.5, connections=50)
    assert slow.failed == fast.failed == 0
    assert 25 < slow.statuses[200] < 80
    assert slow.statuses == fast.statuses
    assert slow.percentile_ms(0.99) > 500
    assert fast.percentile_ms(0.5) < 500


async def test_refused_requests_and_lost_ones_are_counted_apart(tmp_path):
    async with loaded(tmp_path, Settings(max_requests=2, cache_bytes=0)) as (planes, target):
        planes.engine.latency_s = 0.05
        refused = await closed_loop(target, requests(), clients=6, seconds=0.4)
    assert refused.statuses[200] > 0
    assert refused.statuses[429] > 0
    assert refused.failed == refused.statuses[429]
    assert len(refused.latencies_s) == refused.statuses[200]

    async def hang_up(reader, writer):
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        lost = await closed_loop(
            Target("127.0.0.1", server.sockets[0].getsockname()[1]), requests(), clients=3, seconds=5
        )
    assert (lost.lost, lost.failed, lost.statuses) == (3, 3, {})


async def test_the_report_tells_rates_batches_and_padding(tmp_path):
    async with loaded(tmp_path) as (planes, _):
        planes.engine.latency_s = 0.01
        options = BenchOptions(
            url=str(planes.inference.base_url),
            model="org/model",
            clients=8,
            seconds=0.5,
            warm_up_s=0.1,
            batch=3,
            texts=90,
        )
        report, result = await asyncio.to_thread(run_bench, options)
    assert report["statuses"] == {"200": len(result.latencies_s)}
    assert report["itemsPerS"] == pytest.approx(3 * report["requestsPerS"], rel=0.01)
    assert report["meanBatch"] >= 3
    assert 0 <= report["paddingShare"] < 0.5
    assert report["tokensPerS"] > 3 * report["requestsPerS"]
    assert report["loadGeneratorCpuShare"] > 0
    assert report["errors"] == 0


@pytest.mark.parametrize(("cache", "share"), [(True, pytest.approx(1, abs=0.2)), (False, None)])
async def test_texts_are_computed_each_time_unless_the_cache_may_answer(tmp_path, cache, share):
    async with loaded(tmp_path, Settings()) as (planes, _):
        url = str(planes.inference.base_url)
        options = BenchOptions(url=url, model="org/model", clients=2, seconds=0.3, warm_up_s=0.1, texts=3, cache=cache)
        report, result = await asyncio.to_thread(run_bench, options)
        computed = sum(shape[0] for _, shape in planes.engine.batches)
    assert report["cache"] is cache
    assert report.get("cacheHitShare") == share
    assert (computed >= len(result.latencies_s)) is not cache


async def test_what_the_server_refuses_is_told_before_the_load(tmp_path):
    async with loaded(tmp_path) as (planes, _):
        url = str(planes.inference.base_url)
        with pytest.raises(IngrainError, match="'other' is not loaded"):
            await asyncio.to_thread(run_bench, BenchOptions(url=url, model="other"))
        picture = tmp_path / "picture"
        picture.write_bytes(b"no picture")
        with pytest.raises(IngrainError, match="does not embed images"):
            await asyncio.to_thread(run_bench, BenchOptions(url=url, model="org/model", images=[picture]))
    with pytest.raises(EngineUnavailableError, match="ingrain serve"):
        run_bench(BenchOptions(url=url, model="org/model"))
    with pytest.raises(SettingsError, match="--url"):
        run_bench(BenchOptions(url="ftp://host", model="org/model"))


async def test_the_command_prints_and_writes_its_report(tmp_path, capsys):
    async with loaded(tmp_path, Settings(api_keys=["secret:infer+metrics", "operator"]), "operator") as (planes, _):
        command = ["bench", "--url", str(planes.inference.base_url), "--model", "org/model", "--seconds", "0.3"]
        assert await asyncio.to_thread(main, command) == 1
        assert "API key" in capsys.readouterr().err
        files = ["--json", str(tmp_path / "report.json"), "--plot", str(tmp_path / "plot.svg")]
        assert await asyncio.to_thread(main, [*command, "--api-key", "secret", "--warm-up", "0", *files]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert re.search(rf"requestsPerS +{report['requestsPerS']}\n", printed)
    assert "secret" not in printed
    ET.fromstring((tmp_path / "plot.svg").read_text())


def test_a_picture_of_latencies_has_a_line_for_each_percentile():
    by_latency, _ = draw(LoadResult(latencies_s=[0.001 * n for n in range(1, 1001)], answered_at_s=[1.0]), "title").axes
    assert [text.get_text() for text in by_latency.texts] == ["p50 501.0", "p95 951.0", "p99 991.0"]
    assert draw(LoadResult(), "nothing came").get_suptitle() == "nothing came"


def test_a_picture_of_answers_over_time_shows_when_none_came():
    """Answers in the first second and in the last one, and none between."""
    moments = [0.1 * n for n in range(1, 10)] + [9 + 0.1 * n for n in range(1, 11)]
    _, by_time = draw(LoadResult(latencies_s=[0.01] * 19, answered_at_s=moments), "title").axes
    heights = [bar.get_height() for bar in by_time.patches]
    assert len(heights) == 60
    assert any(heights[:6])
    assert not any(heights[6:54])
    assert any(heights[54:])


def test_without_matplotlib_the_command_says_before_the_run_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["bench", "--model", "org/model", "--plot", "plot.svg"]) == 2
    assert "pip install '.[bench]'" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_the_users_mistake(tmp_path):
    with pytest.raises(SettingsError, match=r"plot\.nonsense"):
        write_plot(LoadResult(), "title", tmp_path / "plot.nonsense")


def test_a_steady_rate_leaves_out_the_beginning_and_the_last_answers():
    """Batches of ten every 0.1 s from 0.5 s on, sent for 2 s: a hundred a second, wherever the window begins."""
    moments = [0.5 + 0.1 * batch for batch in range(30) for _ in range(10)]
    result = LoadResult(
        seconds=3.5, latencies_s=[0.2] * 160 + [0.4] * 140, answered_at_s=moments, statuses={200: 300}, sent_for_s=2.0
    )
    for warm_up_s in (0.55, 0.6, 0.77, 1.0):
        assert result.steady_requests_per_s(warm_up_s) == pytest.approx(100)
    assert result.steady_requests_per_s(1.0, within_s=0.3) == pytest.approx(100)
    assert LoadResult().steady_requests_per_s() == 0


async def test_an_answer_in_many_pieces_is_one_answer():
    """A large answer comes in pieces, and the next one may come with its last piece."""
    answers: list[int] = []
    connection = Connection(lambda _, status: answers.append(status), lambda _: None)
    body = b"x" * 100_000
    head = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 100000\r\n\r\n"
    for start in range(0, len(head + body), 7_001):
        connection.data_received((head + body)[start : start + 7_001])
        assert not answers or start + 7_001 >= len(head + body)
    connection.data_received(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{")
    assert answers == [200]
    connection.data_received(b"}")
    assert answers == [200, 429]


async def test_requests_are_what_other_clients_send(tmp_path):
    """The prepared bytes give the vector that httpx gets."""
    async with loaded(tmp_path) as (planes, target):
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(requests(1)[0])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        ours = json.loads(await reader.readexactly(length))
        writer.close()
        theirs: httpx.Response = await planes.embed("w0")
    assert ours["embeddings"] == theirs.json()["embeddings"]
