"""What the server prints when it is ready: a request that works with the model that is loaded."""

import asyncio
import json
import logging
import re

import pytest

from ingrain.app import banner
from ingrain.app.banner import announce, watch_progress
from ingrain.app.listen import open_socket
from ingrain.settings import Settings
from planes import FakeExport, running_planes


@pytest.mark.parametrize(
    ("library", "task", "answers"),
    [
        ("sentence_transformers", "embed", "embeddings"),
        ("sentence_transformers", "rerank", "results"),
        ("sentence_transformers", "classify", "results"),
        ("open_clip", None, "embeddings"),
    ],
)
async def test_the_printed_request_works(tmp_path, capsys, library, task, answers):
    async with running_planes(tmp_path) as planes:
        body = {"name": "a/model", "library": library, "task": task}
        assert (await planes.model.post("/load_model", json=body)).status_code == 200
        await say_ready(planes)
        route, body = re.search(r"curl -s \S+/(\w+) .*-d '(.*)'", capsys.readouterr().out, re.DOTALL).groups()
        answer = await planes.inference.post(f"/{route}", json=json.loads(body))
        assert answer.status_code == 200, answer.text
        assert answers in answer.json()


async def test_a_model_of_images_alone_is_only_named(tmp_path, capsys):
    async with running_planes(tmp_path) as planes:
        await planes.load("net", "timm")
        await say_ready(planes)
        printed = capsys.readouterr().out
        assert "Loaded: net." in printed
        assert "curl" not in printed


async def test_without_a_terminal_the_log_tells_now_and_then_how_far_a_load_is(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(banner, "_LOG_EVERY_S", 0.01)
    export = FakeExport(hold=asyncio.Event())
    async with running_planes(tmp_path, export=export) as planes:
        body = {"name": "a/model", "library": "sentence_transformers", "wait": False}
        assert (await planes.model.post("/load_model", json=body)).status_code == 202
        watching = asyncio.create_task(watch_progress(planes.services))
        with caplog.at_level(logging.INFO, "ingrain.server"):
            async with asyncio.timeout(30):
                while "Model 'a/model': it is being loaded, phase export (25 %)." not in caplog.messages:
                    await asyncio.sleep(0.01)
        watching.cancel()
        export.hold.set()


async def say_ready(planes):
    listeners = [open_socket("127.0.0.1", 0, "a test's port") for _ in range(2)]
    try:
        await announce(Settings(), planes.services, listeners)
    finally:
        for listener in listeners:
            listener.close()
