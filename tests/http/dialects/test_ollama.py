"""Ollama's dialect in process: the native route's vectors, Ollama's fields, lists, pulls and errors."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest

from ingrain.app.limits import http_limits
from ingrain.app.tables import load_tables
from ingrain.errors import SourceNotFoundError
from ingrain.progress import Progress
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.dialects.ollama.dialect import on_own_port
from ingrain.server.plane.application import PlaneApplication
from ingrain.settings import Settings
from ingrain.testing.fake_engine import fake_vector
from planes import MAX_TOKENS, WIDTH, FakeExport, ids_of, running_planes, serving

MODEL = "org/model"
LONG = " ".join(["red"] * 100)
WAIT_S = 30.0


@asynccontextmanager
async def own_port(planes):
    """Serve the port on which the server is an Ollama, and yield a client of it."""
    application = PlaneApplication("inference", planes.services, on_own_port(load_tables(()).dialects))
    async with (
        serving(application, http_limits(Settings()), planes.services.bodies) as url,
        httpx.AsyncClient(base_url=url, timeout=WAIT_S) as client,
    ):
        yield client


async def embed(planes, given, **fields):
    answer = await planes.inference.post("/api/embed", json={"model": MODEL, "input": given, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def native(planes, texts, **fields):
    answer = await planes.embed(texts, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["embeddings"]


@pytest.mark.usefixtures("way")
async def test_embed_gives_the_vectors_of_the_native_route_with_durations_in_nanoseconds(planes):
    texts = ["red", "green blue", "", "w1 w2 w3"]
    answer = await embed(planes, texts)
    np.testing.assert_allclose(answer["embeddings"], await native(planes, texts), atol=1e-6)
    assert list(answer) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert (answer["model"], answer["load_duration"]) == (MODEL, 0)
    assert 1_000 < answer["total_duration"] < WAIT_S * 1e9
    assert answer["prompt_eval_count"] == sum(len(ids_of(text)) for text in texts)
    one = await embed(planes, "green blue")
    np.testing.assert_allclose(one["embeddings"], await native(planes, "green blue"), atol=1e-6)


async def test_the_older_route_gives_the_models_own_vector(planes):
    answer = await planes.inference.post("/api/embeddings", json={"model": MODEL, "prompt": "red green"})
    (expected,) = await native(planes, "red green", normalize=False)
    np.testing.assert_allclose(answer.json()["embedding"], expected, atol=1e-6)
    np.testing.assert_allclose(expected, fake_vector(ids_of("red green"), WIDTH), atol=1e-6)
    assert not np.isclose(np.linalg.norm(expected), 1.0)


@pytest.mark.parametrize(
    "name", ["org/model", "org/model:latest", "hf.co/org/model", "huggingface.co/org/model:latest"]
)
async def test_a_name_may_have_the_tag_latest_and_the_hubs_address(planes, name):
    answer = await embed(planes, "red", model=name)
    np.testing.assert_allclose(answer["embeddings"], await native(planes, "red"), atol=1e-6)
    assert answer["model"] == name
    shown = await planes.inference.post("/api/show", json={"model": name})
    assert shown.status_code == 200, shown.text


async def test_a_tag_names_the_weights_or_the_revision(planes):
    for pretrained in ("a", "b"):
        body = {"name": "clip", "library": "open_clip", "pretrained": pretrained}
        assert (await planes.model.post("/load_model", json=body)).status_code == 200
    body = {"name": "org/old", "library": "sentence_transformers", "revision": "v1"}
    assert (await planes.model.post("/load_model", json=body)).status_code == 200
    listed = (await planes.inference.get("/api/tags")).json()["models"]
    assert {model["name"] for model in listed} == {"org/model:latest", "clip:a", "clip:b", "org/old:v1"}
    for name in ("clip:a", "clip:b", "org/old:v1", "org/old", "org/old:latest"):
        assert len((await embed(planes, "red", model=name))["embeddings"]) == 1
    ambiguous = await planes.inference.post("/api/embed", json={"model": "clip", "input": "red"})
    absent = await planes.inference.post("/api/embed", json={"model": "org/old:v2", "input": "red"})
    assert (ambiguous.status_code, absent.status_code) == (400, 404)


async def test_dimensions_are_cut_first_and_normalized_then(planes):
    answer = await embed(planes, "red", dimensions=3)
    np.testing.assert_allclose(answer["embeddings"], await native(planes, "red", nDims=3), atol=1e-6)
    whole = await embed(planes, "red", dimensions=0)
    assert len(whole["embeddings"][0]) == WIDTH, "0 is what Go's clients send for nothing"


async def test_texts_that_are_too_long_are_cut_unless_truncate_is_false(planes):
    answer = await planes.inference.post("/api/embed", json={"model": MODEL, "input": ["red", LONG]})
    assert answer.json()["prompt_eval_count"] == 3 + MAX_TOKENS
    assert answer.headers["x-truncated-texts"] == "1"
    refused = await planes.inference.post(
        "/api/embed", json={"model": MODEL, "input": ["red", LONG], "truncate": False}
    )
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("the input length exceeds the context length: input[1] has 102 tokens")


@pytest.mark.usefixtures("way")
async def test_num_ctx_cuts_texts_where_it_is_less_than_the_model_takes(planes):
    """As a tokenizer with that limit: three tokens are one of the text between its two special tokens."""
    texts = ["red", "green blue w1", LONG]
    body = {"model": MODEL, "input": texts, "options": {"num_ctx": 3, "temperature": 0.5}}
    answer = await planes.inference.post("/api/embed", json=body)
    np.testing.assert_allclose(answer.json()["embeddings"], await native(planes, ["red", "green", "red"]), atol=1e-6)
    assert (answer.json()["prompt_eval_count"], answer.headers["x-truncated-texts"]) == (9, "2")
    old = {"model": MODEL, "prompt": "green blue w1", "options": {"num_ctx": 4}}
    (expected,) = await native(planes, "green blue", normalize=False)
    answer = await planes.inference.post("/api/embeddings", json=old)
    np.testing.assert_allclose(answer.json()["embedding"], expected, atol=1e-6)
    for fitting in (5, 5.0, 4096, 0, -1, None):
        answer = await embed(planes, "green blue w1", options={"num_ctx": fitting})
        np.testing.assert_allclose(answer["embeddings"], await native(planes, "green blue w1"), atol=1e-6)
    refused = await planes.inference.post("/api/embed", json={**body, "truncate": False})
    assert (refused.status_code, "input[1] has 5 tokens; the model takes 3" in refused.text) == (400, True)
    too_few = await planes.inference.post("/api/embed", json={**body, "options": {"num_ctx": 2}})
    assert (too_few.status_code, list(too_few.json())) == (400, ["error"])


async def test_fields_that_change_no_vector_are_ignored(planes):
    for fields in ({"keep_alive": "5m"}, {"keep_alive": -1}, {"keep_alive": 0}, {"raw": True, "think": "high"}):
        assert (await embed(planes, "red", **fields))["embeddings"] == (await embed(planes, "red"))["embeddings"]


async def test_a_request_without_text_finds_out_whether_there_is_a_model(planes):
    for given in ({"input": ""}, {"input": []}, {"input": None}, {}):
        answer = await planes.inference.post("/api/embed", json={"model": "org/model:latest", **given})
        assert (answer.status_code, answer.json()) == (200, {"model": "org/model:latest", "embeddings": []})
    old = await planes.inference.post("/api/embeddings", json={"model": MODEL, "prompt": ""})
    assert (old.status_code, old.json()) == (200, {"embedding": []})
    absent = await planes.inference.post("/api/embed", json={"model": "absent"})
    assert (absent.status_code, absent.json()) == (404, {"error": 'model "absent" not found, try pulling it first'})


@pytest.mark.parametrize(
    ("path", "content", "status", "words"),
    [
        ("/api/embed", b"", 400, "missing request body"),
        ("/api/embed", b"{", 400, "not valid JSON"),
        ("/api/embed", {"input": "red"}, 400, "'model' is missing"),
        ("/api/embed", {"model": MODEL, "input": 3}, 400, "'input' is not valid"),
        ("/api/embed", {"model": MODEL, "input": ["red", None]}, 400, "'input[1]' is not valid"),
        ("/api/embed", {"model": MODEL, "input": "red", "dimensions": WIDTH + 1}, 400, "dimensions is 9"),
        ("/api/embed", {"model": MODEL, "input": "red", "dimensions": -1}, 400, "dimensions"),
        ("/api/embed", {"model": "absent", "input": "red"}, 404, 'model "absent" not found, try pulling it first'),
        ("/api/embed", {"model": "absent:7b", "input": "red"}, 404, 'model "absent:7b" not found, try pulling'),
        ("/api/embed", {"model": "picture", "input": "red"}, 400, "does not take text"),
        ("/api/embed", {"model": MODEL, "input": "red " * 60_000}, 413, "input has 240000 characters"),
        ("/api/embeddings", {"model": "absent", "prompt": "red"}, 404, "try pulling it first"),
        ("/api/show", {"model": "absent"}, 404, 'model "absent" not found, try pulling it first'),
        ("/api/show", {}, 400, "model is required"),
        ("/api/show", b"", 400, "missing request body"),
        ("/api/generate", {"model": MODEL, "prompt": "red"}, 400, '"org/model" does not support generate'),
        ("/api/chat", {"model": "absent", "messages": []}, 404, "try pulling it first"),
        ("/api/chat", {"model": MODEL, "messages": []}, 400, '"org/model" does not support chat'),
        ("/api/pull", {"model": MODEL}, 404, "model plane"),
        ("/api/copy", {"source": MODEL}, 404, "no such route"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_said_in_ollamas_shape(planes, path, content, status, words):
    await planes.load("picture", "timm")
    body = {"content": content} if isinstance(content, bytes) else {"json": content}
    answer = await planes.inference.post(path, **body)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]
    assert answer.headers["x-request-id"]


async def test_a_wrong_method_and_a_missing_key_are_said_in_ollamas_shape(planes, tmp_path):
    wrong = await planes.inference.get("/api/embed")
    assert (wrong.status_code, list(wrong.json())) == (405, ["error"])
    async with running_planes(tmp_path / "keys", Settings(api_keys=("secret:infer",))) as others:
        for key, status in ((None, 401), ("other", 401), ("secret", 404)):
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            answer = await others.inference.post("/api/embed", json={"model": MODEL, "input": "red"}, headers=headers)
            assert (answer.status_code, list(answer.json())) == (status, ["error"])
        pull = await others.model.post("/api/pull", json={"model": MODEL}, headers={"Authorization": "Bearer secret"})
        assert (pull.status_code, list(pull.json())) == (403, ["error"])


async def test_a_busy_server_is_503_and_says_when_to_come_again(tmp_path):
    async with running_planes(tmp_path, Settings(max_requests=2)) as planes:
        await planes.load()
        planes.engine.latency_s = 0.2
        body = {"model": MODEL, "input": "red"}
        answers = await asyncio.gather(*(planes.inference.post("/api/embed", json=body) for _ in range(6)))
    busy = [answer for answer in answers if answer.status_code != 200]
    assert len(busy) == 4
    assert {answer.status_code for answer in busy} == {503}
    assert busy[0].json()["error"].startswith("server busy, please try again.")
    assert int(busy[0].headers["retry-after"]) >= 1


async def test_the_lists_describe_the_loaded_models(planes):
    await planes.load("clip", "open_clip")
    tags = (await planes.inference.get("/api/tags")).json()["models"]
    assert [model["name"] for model in tags] == ["org/model:latest", "clip:latest"]
    assert set(tags[0]) == {"name", "model", "modified_at", "size", "digest", "details"}
    assert tags[0]["size"] > 0
    assert len({model["digest"] for model in tags}) == 2
    assert tags[0]["details"]["quantization_level"] == "F32"
    running = (await planes.inference.get("/api/ps")).json()["models"]
    assert [model["context_length"] for model in running] == [MAX_TOKENS, MAX_TOKENS]
    shown = (await planes.inference.post("/api/show", json={"name": "org/model"})).json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["fake.embedding_length"] == WIDTH
    assert shown["model_info"]["fake.context_length"] == MAX_TOKENS
    version = (await planes.inference.get("/api/version")).json()["version"]
    assert all(part.isdecimal() for part in version.split("."))


def lines(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_pull_loads_a_model_and_tells_its_progress(planes):
    told = lines(await planes.model.post("/api/pull", json={"model": "hf.co/org/new:latest", "insecure": True}))
    assert told[0] == {"status": "pulling manifest"}
    assert told[-1] == {"status": "success"}
    assert planes.export.runs[-1] == ModelRef(name="org/new")
    await embed(planes, "red", model="org/new")
    again = await planes.model.post("/api/pull", json={"name": "org/new", "stream": False})
    assert (again.status_code, again.json()) == (200, {"status": "success"})
    assert len(planes.export.runs) == 2


class SteppedExport(FakeExport):
    """Tells the steps of a load, each after the last one was seen."""

    steps = (
        Progress(phase="download", done=0, total=0, unit="bytes"),
        Progress(phase="download", done=500, total=2_000, unit="bytes"),
        Progress(phase="download", done=2_000, total=2_000, unit="bytes"),
        Progress(phase="export", done=1, total=2, unit="graphs"),
        Progress(phase="verify"),
    )

    async def __call__(self, ref, folder, on_progress) -> None:
        for step in self.steps:
            on_progress(step)
            await asyncio.sleep(0.3)
        await super().__call__(ref, folder, lambda _: None)


async def test_each_step_of_a_pull_is_told_while_it_runs_and_a_second_pull_joins(tmp_path):
    async with running_planes(tmp_path, export=SteppedExport()) as planes:
        first, second = await asyncio.gather(
            planes.model.post("/api/pull", json={"model": MODEL}),
            planes.model.post("/api/pull", json={"model": f"{MODEL}:latest"}),
        )
        assert len(planes.export.runs) == 1
    for told in (lines(first), lines(second)):
        digest = next(line["digest"] for line in told if "digest" in line)
        pulling = {"status": f"pulling {digest.removeprefix('sha256:')[:12]}", "digest": digest}
        steps = [line for line in told if line["status"] != "loading the model"]
        assert steps == [
            {"status": "pulling manifest"},
            pulling,
            {**pulling, "total": 2_000, "completed": 500},
            {**pulling, "total": 2_000, "completed": 2_000},
            {"status": "converting to ONNX (1 of 2 graphs)"},
            {"status": "verifying"},
            {"status": "success"},
        ]


async def test_a_step_that_takes_long_is_told_again(tmp_path, monkeypatch):
    """A proxy would take a connection for dead on which nothing comes for a minute."""
    monkeypatch.setattr("ingrain.server.plane.operations._REPEAT_AFTER_S", 0.1)
    export = FakeExport(hold=asyncio.Event())
    async with (
        running_planes(tmp_path, export=export) as planes,
        planes.model.stream("POST", "/api/pull", json={"model": MODEL}) as answer,
    ):
        told = []
        async for line in answer.aiter_lines():
            told.append(json.loads(line)["status"])
            if told.count("converting to ONNX (1 of 4 graphs)") == 3:
                export.hold.set()
        assert told[-1] == "success"


async def test_a_pull_that_fails_says_so_in_its_last_line(tmp_path):
    error = SourceNotFoundError("The hub has no model 'org/absent'.", param="name")
    async with running_planes(tmp_path, export=FakeExport(error=error)) as planes:
        told = lines(await planes.model.post("/api/pull", json={"model": "org/absent"}))
        assert told[0] == {"status": "pulling manifest"}
        assert told[-1] == {"error": error.message}
        whole = await planes.model.post("/api/pull", json={"model": "org/absent", "stream": False})
        assert (whole.status_code, whole.json()) == (404, {"error": error.message})


async def test_a_pull_whose_client_goes_away_loads_the_model_all_the_same(tmp_path):
    export = FakeExport(hold=asyncio.Event())
    async with running_planes(tmp_path, export=export) as planes:
        load, before = planes.services.load, planes.services.load.in_progress
        async with planes.model.stream("POST", "/api/pull", json={"model": MODEL}) as answer:
            told = answer.aiter_lines()
            assert json.loads(await anext(told)) == {"status": "pulling manifest"}
            assert load.in_progress == before + 1, "a stream counts as in progress until its end"
        async with asyncio.timeout(WAIT_S):
            while load.in_progress > before:
                await asyncio.sleep(0.01)
        export.hold.set()
        async with asyncio.timeout(WAIT_S):
            while not planes.services.registry.loaded():
                await asyncio.sleep(0.01)
        await embed(planes, "red")


async def test_pulling_a_stored_model_needs_no_library(planes):
    body = {"model": "ViT-B-32:laion", "library": "open_clip"}
    assert lines(await planes.model.post("/api/pull", json=body))[-1] == {"status": "success"}
    unload = {"name": "ViT-B-32", "library": "open_clip", "pretrained": "laion"}
    assert (await planes.model.post("/unload_model", json=unload)).status_code == 200
    for name in ("ViT-B-32", "ViT-B-32:laion"):
        assert lines(await planes.model.post("/api/pull", json={"model": name}))[-1] == {"status": "success"}
    assert [run.library for run in planes.export.runs] == ["sentence_transformers", "open_clip"]
    revision = lines(await planes.model.post("/api/pull", json={"model": "org/other:v2"}))
    assert revision[-1] == {"status": "success"}
    assert planes.export.runs[-1].revision == "v2"


async def test_an_alias_is_listed_pulled_and_answered(tmp_path):
    """So that a tool works that knows no names but Ollama's."""
    settings = Settings(model_aliases=("all-minilm=org/model", "nomic-embed-text:v1.5=org/other"))
    async with running_planes(tmp_path, settings) as planes:
        for name in ("all-minilm", "nomic-embed-text:v1.5"):
            assert lines(await planes.model.post("/api/pull", json={"model": name}))[-1] == {"status": "success"}
        assert [run.name for run in planes.export.runs] == ["org/model", "org/other"]
        tags = (await planes.inference.get("/api/tags")).json()["models"]
        names = [model["name"] for model in tags]
        assert names == ["org/model:latest", "org/other:latest", "all-minilm:latest", "nomic-embed-text:v1.5"]
        for name in ("all-minilm", "all-minilm:latest", "nomic-embed-text:v1.5"):
            assert (await embed(planes, "red", model=name))["model"] == name


async def test_an_alias_has_the_tag_latest_or_none(tmp_path):
    """As clients send the names of the list, or the names that they were given."""
    settings = Settings(model_aliases=("all-minilm:latest=org/model", "nomic-embed-text=org/other"))
    async with running_planes(tmp_path, settings) as planes:
        for name in ("all-minilm", "nomic-embed-text:latest"):
            assert lines(await planes.model.post("/api/pull", json={"model": name}))[-1] == {"status": "success"}
        assert [run.name for run in planes.export.runs] == ["org/model", "org/other"]
        tags = (await planes.inference.get("/api/tags")).json()["models"]
        for name in ("all-minilm", "nomic-embed-text", *(model["name"] for model in tags)):
            assert len((await embed(planes, "red", model=name))["embeddings"]) == 1
            assert (await planes.inference.post("/api/show", json={"model": name})).status_code == 200
        other = await planes.inference.post("/api/embed", json={"model": "nomic-embed-text:v2", "input": "red"})
        pull = await planes.model.post("/api/pull", json={"model": "nomic-embed-text:v2", "stream": False})
        assert (other.status_code, pull.status_code) == (404, 200)
        assert (planes.export.runs[-1].name, planes.export.runs[-1].revision) == ("nomic-embed-text", "v2")


async def test_delete_removes_no_model_but_the_one_with_the_tag(planes):
    for body in (
        {"name": "org/old", "library": "sentence_transformers", "revision": "v1"},
        {"name": "clip", "library": "open_clip", "pretrained": "a"},
    ):
        assert (await planes.model.post("/load_model", json=body)).status_code == 200
    for name in ("org/model:v1", "org/old:v2", "clip:b", "absent:v1", ""):
        answer = await planes.model.request("DELETE", "/api/delete", json={"model": name})
        assert (answer.status_code, list(answer.json())) == (404 if name else 400, ["error"])
    assert len((await planes.inference.get("/api/tags")).json()["models"]) == 3
    for name in ("org/model:latest", "org/old:v1", "clip:a"):
        answer = await planes.model.request("DELETE", "/api/delete", json={"model": name})
        assert answer.status_code == 200, answer.text
    assert (await planes.inference.get("/api/tags")).json() == {"models": []}
    for method, path in (("DELETE", "/api/delete"), ("POST", "/api/pull")):
        answer = await planes.model.request(method, path)
        assert (answer.status_code, answer.json()) == (400, {"error": "missing request body"})


async def test_delete_removes_a_model(planes):
    answer = await planes.model.request("DELETE", "/api/delete", json={"model": "org/model:latest"})
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert (await planes.inference.get("/api/tags")).json() == {"models": []}
    again = await planes.model.request("DELETE", "/api/delete", json={"model": MODEL})
    assert (again.status_code, list(again.json())) == (404, ["error"])


async def test_the_own_port_is_a_whole_ollama(planes):
    async with own_port(planes) as ollama:
        for method in ("GET", "HEAD"):
            root = await ollama.request(method, "/")
            assert (root.status_code, root.headers["content-length"]) == (200, "17")
        assert (await ollama.get("/")).text == "Ollama is running"
        assert (await planes.inference.get("/")).headers["content-type"] == "application/json"
        assert lines(await ollama.post("/api/pull", json={"model": "org/new"}))[-1] == {"status": "success"}
        assert len((await ollama.get("/api/tags")).json()["models"]) == 2
        for path, body in (("/api/embed", {"input": "red"}), ("/v1/embeddings", {"input": "red"})):
            answer = await ollama.post(path, json={"model": "org/new", **body})
            assert answer.status_code == 200, answer.text
        deleted = await ollama.request("DELETE", "/api/delete", json={"model": "org/new"})
        assert deleted.status_code == 200
        nothing = await ollama.get("/nothing")
        assert (nothing.status_code, list(nothing.json())) == (404, ["error"])
        assert (await ollama.post("/embed_text", json={"name": MODEL, "text": "red"})).status_code == 404
        for path in ("/health", "/ready", "/docs", "/openapi.json"):
            assert (await ollama.get(path)).status_code == 200


async def test_on_the_own_port_pulls_need_the_scope_of_models(tmp_path):
    settings = Settings(api_keys=("reader:infer", "admin:infer+models"))
    async with running_planes(tmp_path, settings) as planes, own_port(planes) as ollama:
        for key, status in (("reader", 403), ("admin", 200)):
            headers = {"Authorization": f"Bearer {key}"}
            answer = await ollama.post("/api/pull", json={"model": MODEL, "stream": False}, headers=headers)
            assert answer.status_code == status
            assert (await ollama.get("/api/tags", headers=headers)).status_code == 200
        assert (await ollama.get("/")).status_code == 200
        assert (await ollama.get("/api/tags")).status_code == 401


async def test_a_pull_over_http_1_0_ends_with_the_connection(planes):
    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", planes.model.base_url.port), timeout=WAIT_S) as connection:
            body = b'{"model": "org/model"}'
            connection.sendall(b"POST /api/pull HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            said = b""
            while piece := connection.recv(65_536):
                said += piece
            return said

    head, _, body = (await asyncio.to_thread(ask)).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert body.endswith(b'{"status":"success"}\n')
    assert b"\r\n" not in body
