"""What the server prints when it is ready: a request that works with the model that is loaded."""

import json
import re

import pytest

from ingrain.app.banner import announce
from ingrain.app.listen import open_socket
from ingrain.settings import Settings
from planes import running_planes


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


async def say_ready(planes):
    listeners = [open_socket("127.0.0.1", 0, "a test's port") for _ in range(2)]
    try:
        await announce(Settings(), planes.services, listeners)
    finally:
        for listener in listeners:
            listener.close()
