"""Keys with names: scopes, models, limits and expiry, on the routes of all dialects, and what is counted of them."""

import asyncio

import httpx
import pytest

from ingrain.settings import Settings
from keys_files import entry, header, write_keys
from planes import running_planes

OPEN, ALL = "org/open", ("infer", "models")


@pytest.fixture
async def planes(tmp_path):
    """Both planes with a keys file; ``some`` may use one of the two models."""
    path = write_keys(
        tmp_path / "keys.json",
        entry("all", scopes=("infer", "models", "metrics")),
        entry("some", scopes=ALL, models=("org/o*", "org/new")),
        entry("reader"),
        entry("late", expires="2026-01-31"),
        entry("few", requests_per_minute=2),
        entry("small", tokens_per_minute=10),
    )
    settings = Settings(api_keys=("plain",), keys_file=path, model_aliases=("hidden=org/closed", "shown=org/open"))
    async with running_planes(tmp_path / "root", settings) as planes:
        for name in (OPEN, "org/closed"):
            await planes.load(name, key="plain")
        planes.keys_path = path
        yield planes


async def embed(planes, key: str, name: str = OPEN, text="red") -> httpx.Response:
    return await planes.inference.post("/embed_text", json={"name": name, "text": text}, headers=header(key))


async def test_a_key_opens_its_scopes_and_plain_keys_work_beside_it(planes):
    assert (await embed(planes, "reader")).status_code == 200
    assert (await planes.inference.post("/embed_text", json={"name": OPEN, "text": "red"})).status_code == 401
    plain = {"authorization": "Bearer plain"}
    assert (await planes.inference.get("/metrics", headers=plain)).status_code == 200
    refused = await planes.model.get("/loaded_models", headers=header("reader"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    unknown = await embed(planes, "nobody")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_an_expired_key_is_told_so(planes):
    answer = await embed(planes, "late")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "expired_api_key")
    assert "2026-01-31" in answer.json()["message"]
    assert "late" not in answer.text
    ready = await planes.inference.get("/ready", headers=header("late"))
    assert (ready.status_code, ready.json()["models"]) == (200, [])


CALLS = (
    ("/embed_text", {"name": "org/closed", "text": "red"}),
    ("/embed_text", {"name": "hidden", "text": "red"}),
    ("/v1/embeddings", {"model": "org/closed", "input": "red"}),
    ("/tei/org/closed/embed", {"inputs": "red"}),
    ("/v2/embed", {"model": "org/closed", "texts": ["red"], "input_type": "search_document"}),
    ("/api/embed", {"model": "org/closed", "input": "red"}),
    ("/api/show", {"model": "org/closed"}),
    ("/v2/models/org/closed/infer", {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["red"]}]}),
    ("/tokenize", {"model": "org/closed", "prompt": "red"}),
    ("/embed_text", {"name": "org/not-there", "text": "red"}),
)


@pytest.mark.parametrize(("path", "body"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_model_that_the_key_may_not_use_is_refused_by_name(planes, path, body):
    answer = await planes.inference.post(path, json=body, headers=header("some"))
    assert answer.status_code == 403, answer.text
    named = body.get("name") or body.get("model") or "org/closed"
    assert named in answer.text
    assert named == "org/closed" or "org/closed" not in answer.text  # what an alias stands for is not told


LISTS = ("/v1/models", "/api/tags", "/api/ps", "/v2/models", "/cohere/v1/models", "/models", "/ready", "/v1/info")


async def test_no_list_has_models_that_the_key_may_not_use(planes):
    for path in LISTS:
        mine = await planes.inference.get(path, headers=header("some"))
        if mine.status_code == 404:
            continue
        everything = await planes.inference.get(path, headers=header("all"))
        assert "org/open" in mine.text, path
        assert "closed" not in mine.text, path
        assert "hidden" not in mine.text, path
        assert "closed" in everything.text, path
    index = await planes.inference.post("/v2/repository/index", headers=header("some"))
    assert [one["name"] for one in index.json()] == [OPEN]
    for path in ("/loaded_models", "/repository_models", "/ready"):
        mine = await planes.model.get(path, headers=header("some"))
        assert [one["name"] for one in mine.json()["models"]] == [OPEN]


async def test_a_request_that_names_no_model_gets_the_only_one_that_the_key_may_use(planes):
    body = {"inputs": "red"}
    mine = await planes.inference.post("/embed", json=body, headers=header("some"))
    assert mine.status_code == 200
    info = await planes.inference.get("/info", headers=header("some"))
    assert info.json()["model_id"] == OPEN
    assert (await planes.inference.post("/embed", json=body, headers=header("all"))).status_code != 200


CHANGES = (
    ("POST", "/load_model", {"library": "sentence_transformers"}),
    ("POST", "/unload_model", {}),
    ("DELETE", "/delete_model", {}),
    ("POST", "/tune_model", {"seconds": 1}),
    ("POST", "/reset_tuning", {}),
    ("POST", "/download_custom_model", {"library": "timm", "safetensorsUrl": "http://127.0.0.1:9/x", "numClasses": 2}),
)


@pytest.mark.parametrize(("method", "path", "fields"), CHANGES, ids=lambda value: value if "/" in str(value) else "")
async def test_only_models_of_the_key_can_be_changed(planes, method, path, fields):
    body = {"name": "org/closed", **fields}
    answer = await planes.model.request(method, path, json=body, headers=header("some"))
    assert (answer.status_code, answer.json()["error"]["model"]) == (403, "org/closed"), answer.text
    assert len(planes.services.registry.loaded()) == 2


async def test_a_key_loads_and_describes_its_models(planes):
    body = {"name": "org/new", "library": "sentence_transformers"}
    assert (await planes.model.post("/load_model", json=body, headers=header("some"))).status_code == 200
    for name, status in (("org/new", 200), ("org/closed", 403)):
        size = await planes.model.get(f"/model_embedding_size?name={name}", headers=header("some"))
        assert size.status_code == status
        ready = await planes.inference.get(f"/ready?model={name}", headers=header("some"))
        assert ready.status_code == status
    pulled = await planes.model.post("/api/pull", json={"model": "org/closed"}, headers=header("some"))
    assert "may not use" in pulled.text


SHAPES = (
    ("/embed_text", {"name": OPEN, "text": "red"}, 429, lambda body: body["error"]["code"]),
    ("/v1/embeddings", {"model": OPEN, "input": "red"}, 429, lambda body: body["error"]["code"]),
    (
        "/v2/embed",
        {"model": OPEN, "texts": ["red"], "input_type": "search_document", "embedding_types": ["float"]},
        429,
        lambda body: body["message"],
    ),
    (f"/tei/{OPEN}/embed", {"inputs": "red"}, 429, lambda body: body["error_type"]),
    ("/api/embed", {"model": OPEN, "input": "red"}, 429, lambda body: body["error"]),
    (f"/v2/models/{OPEN}/infer", CALLS[7][1], 429, lambda body: body["error"]),
)


@pytest.mark.parametrize(("path", "body", "status", "told"), SHAPES, ids=lambda value: str(value)[:20])
async def test_a_request_over_the_limit_is_refused_at_once_in_the_words_of_its_dialect(
    planes, path, body, status, told
):
    answers = [await planes.inference.post(path, json=body, headers=header("few")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, status]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert all(answer.headers["x-ratelimit-limit-requests"] == "2" for answer in answers)
    assert 50 < int(answers[2].headers["retry-after"]) <= 61
    assert answers[2].headers["x-ratelimit-reset-requests"].endswith("s")
    assert "x-ratelimit-limit-tokens" not in answers[0].headers
    assert told(answers[2].json()) in (
        "rate_limit_exceeded",
        "Overloaded",
        "The API key's limit of 2 requests per minute is reached. Try again later.",
    )


async def test_a_refusal_for_lack_of_room_names_only_models_that_the_key_may_see(tmp_path):
    path = write_keys(
        tmp_path / "keys.json", entry("all", scopes=ALL), entry("some", scopes=ALL, models=("org/open", "org/new"))
    )
    async with running_planes(tmp_path / "root", Settings(keys_file=path, max_loaded_models=2)) as planes:
        for name in (OPEN, "org/closed"):
            await planes.load(name, key=header("all")["authorization"][7:])
        body = {"name": "org/new", "library": "sentence_transformers"}
        refused = await planes.model.post("/load_model", json=body, headers=header("some"))
        assert (refused.status_code, refused.json()["error"]["loadedModels"]) == (400, [OPEN])
        assert "2 models are loaded" in refused.json()["message"]
        assert OPEN in refused.json()["message"]
        started = await planes.model.post("/load_model", json={**body, "wait": False}, headers=header("some"))
        operation = started.json()["id"]
        events = await planes.model.get(f"/operations/{operation}/events", headers=header("some"))
        for told in (refused, events, await planes.model.get("/operations", headers=header("some"))):
            assert "org/closed" not in told.text
        assert "2 models are loaded" in events.text
        refused = await planes.model.post("/load_model", json=body, headers=header("all"))
        assert refused.json()["error"]["loadedModels"] == ["org/closed", OPEN]


async def test_tokens_are_counted_when_they_are_known_and_the_next_request_waits(planes):
    first = await embed(planes, "small", text=["red green blue"] * 6)
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-tokens"] == "10"
    assert first.headers["x-ratelimit-remaining-tokens"] == "0"
    second = await embed(planes, "small")
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(second.headers["retry-after"]) > 100  # 30 tokens of 10 a minute


async def test_metrics_count_by_the_names_of_keys(planes):
    for key, name in (("some", "org/closed"), ("late", OPEN), ("nobody", OPEN), ("reader", OPEN)):
        await embed(planes, key, name)
    for _ in range(3):
        await embed(planes, "few")
    answer = await planes.inference.get("/metrics", headers={**header("all"), "accept": "text/plain"})
    lines = set(answer.text.splitlines())
    assert {
        'ingrain_key_requests_total{key="some",status="403"} 1.0',
        'ingrain_key_refusals_total{key="some",reason="model"} 1.0',
        'ingrain_key_refusals_total{key="late",reason="expired"} 1.0',
        'ingrain_key_refusals_total{key="",reason="unknown"} 1.0',
        'ingrain_key_refusals_total{key="few",reason="requests_per_minute"} 1.0',
        'ingrain_key_tokens_total{key="reader"} 3.0',
        'ingrain_key_tokens_total{key="few"} 6.0',
    } <= lines
    assert "nobody" not in answer.text


async def test_logs_name_the_key_and_never_show_it(planes, caplog):
    with caplog.at_level("DEBUG", "ingrain"):
        await embed(planes, "reader")
        await embed(planes, "few")
    assert " of key reader" in caplog.text
    assert header("reader")["authorization"][7:] not in caplog.text


async def test_a_changed_file_is_followed_and_a_broken_one_is_not(planes, caplog):
    file, named = planes.services.keys_file, planes.services.keys.named

    def follow() -> None:
        if file.reload():
            named.replace(file.known)

    assert (await embed(planes, "few")).headers["x-ratelimit-remaining-requests"] == "1"
    assert (await embed(planes, "reader")).status_code == 200
    write_keys(planes.keys_path, entry("few", requests_per_minute=2), entry("new"))
    follow()
    assert (await embed(planes, "new")).status_code == 200
    assert (await embed(planes, "reader")).status_code == 401
    assert (await embed(planes, "few")).headers["x-ratelimit-remaining-requests"] == "0"  # what it took still counts
    planes.keys_path.write_text('{"keys": [{"name": "x"')
    caplog.clear()
    follow()
    follow()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert (await embed(planes, "new")).status_code == 200
    planes.keys_path.unlink()
    follow()
    assert (await embed(planes, "new")).status_code == 200
    write_keys(planes.keys_path)
    follow()
    assert (await embed(planes, "new")).status_code == 401  # a file without keys opens nothing


async def test_following_a_load_ends_with_the_key(planes):
    planes.export.hold = asyncio.Event()
    body = {"name": "org/new", "library": "sentence_transformers", "wait": False}
    started = await planes.model.post("/load_model", json=body, headers=header("some"))
    path = f"/operations/{started.json()['id']}/events"
    async with asyncio.timeout(60), planes.model.stream("GET", path, headers=header("some")) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: progress"
        write_keys(planes.keys_path, entry("all", scopes=ALL))
        planes.services.keys_file.reload()
        planes.services.keys.named.replace(planes.services.keys_file.known)
        planes.services.operations.wake()
        assert "event: end" not in [line async for line in lines]
    assert (await planes.model.get(path, headers=header("some"))).status_code == 401
    planes.export.hold.set()
    async with asyncio.timeout(60), planes.model.stream("GET", path, headers=header("all")) as answer:
        assert "event: end" in [line async for line in answer.aiter_lines()]  # the load has gone on


async def test_two_keys_share_no_cached_rows(planes):
    for key in ("reader", "all"):
        await embed(planes, key, text="green blue")
    assert planes.services.telemetry.counts().queues[OPEN].cache_hits == 0
    await embed(planes, "all", text="green blue")
    assert planes.services.telemetry.counts().queues[OPEN].cache_hits == 1
