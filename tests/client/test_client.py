"""What both clients do, against real planes in this process: one suite for the two."""

import asyncio
import re

import numpy as np
import pytest

import ingrain
from client_api import Api
from ingrain.repository.manifest import TextPreprocess
from ingrain.settings import Settings
from ingrain.testing.fake_engine import fake_vector
from planes import LABELS, MAX_TOKENS, WIDTH, ids_of, running_planes
from wire_tap import WireTap


def texts(count: int) -> list[str]:
    """Return distinct texts of the fake model's words."""
    return [f"w{n % 100} w{n // 100 % 100} w{n // 10_000}" for n in range(count)]


def truth(*given: str) -> np.ndarray:
    rows = np.stack([fake_vector(ids_of(text), WIDTH) for text in given])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.both_clients
async def test_published_examples_work(connect, planes):
    """Answers have fields and the wire's keys, as examples of both generations use them."""
    api = connect()
    model = await api.load_sentence_transformer_model(name="org/model")
    answer = await model.infer_text(text=["red", "green"])
    assert answer.embeddings == answer["embeddings"]
    assert isinstance(answer["embeddings"], list)
    assert answer.processing_time_ms == answer["processingTimeMs"] > 0
    np.testing.assert_allclose(answer.embeddings, truth("red", "green"), atol=1e-6)
    with pytest.raises(KeyError):
        answer["embedding"]
    both = await api.infer(name="org/model", text="red")
    assert both["textEmbeddings"] == answer["embeddings"][:1]
    assert both["imageEmbeddings"] is None
    model = await connect(return_numpy=True).load_model("org/model", "sentence_transformers")
    rows = (await model.embed_text(text="red"))["embeddings"]
    assert isinstance(rows, np.ndarray)


@pytest.mark.both_clients
async def test_every_question_has_its_method(api, planes):
    inference, model = await api.health()
    assert (inference.message, model["message"]) == ("The inference server is running.", "The model server is running.")
    assert (await api.model_server_health())["message"] == "The model server is running."
    loaded = await api.loaded_models()
    assert {(model.name, model["library"]) for model in loaded["models"]} == {
        ("org/model", "sentence_transformers"),
        ("clip", "open_clip"),
        ("net", "timm"),
    }
    assert {model.state for model in (await api.repository_models()).models} == {"READY"}
    assert (await api.model_embedding_size("org/model"))["embeddingSize"] == WIDTH
    assert (await api.model_classification_labels("net")).labels == list(LABELS)
    await api.embed_text("org/model", "red")
    stats = {stat["name"]: stat for stat in (await api.metrics())["modelStats"]}
    assert int(stats["org/model"]["inferenceStats"]["success"]["count"]) == 1


@pytest.mark.both_clients
async def test_models_are_loaded_unloaded_and_deleted(api, planes):
    model = await api.load_clip_model("other", "tag")
    assert (model.name, model.library, model.pretrained) == ("other", "open_clip", "tag")
    assert await model.embedding_size() == WIDTH
    assert "unloaded successfully" in (await model.unload()).message
    with pytest.raises(ingrain.ModelNotLoadedError):
        await model.embed_text("red")
    assert "loaded successfully" in (await model.load())["message"]
    assert "deleted successfully" in (await api.delete_model("other")).message
    with pytest.raises(ingrain.ModelNotFoundError):
        await model.embedding_size()
    timm = await api.load_timm_model("net2")
    assert await timm.classification_labels() == list(LABELS)


@pytest.mark.both_clients
async def test_loads_are_started_followed_and_cancelled(api, planes):
    planes.export.hold = asyncio.Event()
    loading = await api.start_load("org/slow", "sentence_transformers")
    assert (await api.operation(loading.id)).state == "running"
    assert (await api.operations())["operations"][0].id == loading.id
    assert (await api.cancel_operation(loading.id)).state == "cancelled"
    with pytest.raises(ingrain.OperationEndedError):
        await api.cancel_operation(loading.id)
    with pytest.raises(ingrain.NotFoundError):
        await api.operation("no/such")


@pytest.mark.both_clients
async def test_any_number_of_texts_in_order_in_requests_of_bounded_size(connect, tap):
    """3,000 texts become requests of 64, some side by side but never more than asked for, and one array in order."""
    api = connect(concurrency=5, return_numpy=True)
    answer = await api.embed_text("org/model", texts(3000))
    np.testing.assert_allclose(answer.embeddings, truth(*texts(3000)), atol=1e-6)
    assert answer.embeddings.dtype == np.float32
    assert answer.embeddings.flags.writeable
    assert tap.count(b"POST /embed_text") == 47
    assert 2 <= tap.most_waiting <= 5
    assert tap.count(b"Accept: application/octet-stream") == 47


async def test_lists_are_the_same_numbers_as_arrays(api, tap):
    lists = await api.embed_text("org/model", texts(200))
    assert tap.count(b"application/octet-stream") == 0
    array = await api.embed_text("org/model", texts(200), return_numpy=True)
    assert isinstance(lists.embeddings, list)
    np.testing.assert_array_equal(lists.numpy(), array.embeddings)
    assert array.numpy() is array.embeddings


@pytest.mark.both_clients
async def test_an_iterator_is_read_only_as_far_as_there_is_room(connect, planes):
    """Streaming holds a bounded number of requests, however many texts there will be."""
    taken = 0

    def endless():
        nonlocal taken
        for text in texts(1_000_000):
            taken += 1
            yield text

    api = connect(concurrency=2, batch_size=10)
    rows, parts = [], api.stream("stream_text", "org/model", endless(), return_numpy=True)
    async for part in parts:
        rows.append(part.embeddings)
        if len(rows) == 20:
            break
    assert taken <= 20 * 10 + 2 * 4 * 10 + 10
    np.testing.assert_allclose(np.concatenate(rows), truth(*texts(200)), atol=1e-6)
    assert len((await api.embed_text("org/model", (text for text in texts(95)))).embeddings) == 95


async def test_long_texts_are_sent_in_smaller_requests(api, tap):
    await api.embed_text("org/model", ["w1 " * 30_000] * 5)
    assert tap.count(b"POST /embed_text") == 3


async def test_the_fields_of_a_request_reach_the_server(api):
    plain = await api.embed_text("org/model", "red", normalize=False, n_dims=3)
    np.testing.assert_allclose(plain.embeddings, [fake_vector(ids_of("red"), WIDTH)[:3]], atol=1e-6)
    with pytest.raises(ingrain.InvalidRequestError, match="'nonsense'") as raised:
        await api.embed_text("org/model", "red", extra={"nonsense": 1})
    assert raised.value.facts["knownFields"]
    with pytest.raises(ingrain.InvalidRequestError, match="library"):
        await api.embed_text("org/model", "red", library="nonsense")


async def test_prompts_go_before_texts_and_long_texts_are_told(kind, tmp_path):
    """Prompts by name, by kind and free; tokens of each text, in order over requests; refusal instead of a cut."""
    async with running_planes(tmp_path) as planes:
        planes.export.text = TextPreprocess(max_tokens=MAX_TOKENS, prompts={"query": "red ", "special": "green "})
        await planes.load()
        api = Api(kind, str(planes.inference.base_url), batch_size=2)

        async def rows(**options):
            return (await api.embed_text("org/model", ["w1", "w2", "w3"], **options)).numpy()

        for options, prompt in (
            ({"input_type": "query"}, "red "),
            ({"input_type": "document"}, ""),
            ({"prompt_name": "special"}, "green "),
            ({"prompt": "blue "}, "blue "),
        ):
            expected = truth(*(f"{prompt}w{n}" for n in (1, 2, 3)))
            np.testing.assert_allclose(await rows(**options), expected, atol=1e-6)
            streamed = [part async for part in api.stream("stream_text", "org/model", ["w1", "w2", "w3"], **options)]
            np.testing.assert_allclose(np.concatenate([part.numpy() for part in streamed]), expected, atol=1e-6)
        with pytest.raises(ingrain.InvalidRequestError) as raised:
            await rows(prompt_name="nonsense")
        assert set(raised.value.facts["promptNames"]) >= {"query", "special"}
        texts = ["w1", "w1 w2 w3", "w1 " * 99]
        for as_numpy in (False, True):
            told = await api.embed_text("org/model", texts, token_counts=True, return_numpy=as_numpy)
            assert told["tokenCounts"] == told.token_counts == [3, 5, MAX_TOKENS]
            assert told.truncated == [False, False, True]
            np.testing.assert_allclose(told.numpy(), truth(*texts), atol=1e-6)
        both = await api.embed("org/model", texts, token_counts=True)
        assert (both.token_counts, both.truncated) == (told.token_counts, told.truncated)
        with pytest.raises(ingrain.TextTooLongError, match=r"text\[2\]") as raised:
            await api.embed_text("org/model", texts, truncate=False)
        assert (raised.value.param, raised.value.facts["index"]) == ("text[2]", 2)
        assert (await api.embed_text("org/model", texts[:2], truncate=False)).token_counts is None
        await api.close()


@pytest.mark.parametrize(
    ("dtype", "kind_of_number"), [("binary", np.int8), ("ubinary", np.uint8), ("float", np.float32)]
)
async def test_fewer_bytes_a_number(api, dtype, kind_of_number):
    """Arrays have the kind of number asked for, lists whole numbers; both are what the server makes of the floats."""
    lists = await api.embed_text("org/model", texts(150), output_dtype=dtype)
    array = await api.embed_text("org/model", texts(150), output_dtype=dtype, return_numpy=True)
    assert array.embeddings.dtype == array.numpy().dtype == kind_of_number
    assert isinstance(lists.embeddings[0][0], float if dtype == "float" else int)
    np.testing.assert_array_equal(np.array(lists.embeddings, kind_of_number), array.embeddings)
    if dtype == "ubinary":
        np.testing.assert_array_equal(array.embeddings, np.packbits(truth(*texts(150)) > 0, axis=1))
    told = await api.embed_text("org/model", "red", output_dtype=dtype, return_numpy=True, token_counts=True)
    assert told.embeddings.dtype == kind_of_number
    with pytest.raises(ingrain.InvalidRequestError, match="outputDtype"):
        await api.embed_text("org/model", "red", output_dtype="nonsense", return_numpy=True)


async def test_neither_texts_nor_pictures_is_refused_by_the_server(api):
    with pytest.raises(ingrain.InvalidRequestError):
        await api.embed("org/model")


@pytest.mark.both_clients
async def test_errors_are_the_servers_classes_with_what_they_know(api):
    with pytest.raises(ingrain.ModelNotLoadedError, match="'nope'") as raised:
        await api.embed_text("nope", "red", request_id="my-own-word")
    error = raised.value
    assert (error.status, error.code, error.param) == (404, "model_not_loaded", "name")
    assert error.request_id == "my-own-word"
    with pytest.raises(ingrain.ModalityError):
        await api.embed_image("org/model", b"x")
    with pytest.raises(ingrain.InferenceError):
        await api.embed_text("org/model", "poison")
    with pytest.raises(ingrain.RequestError):
        await api.model_embedding_size("nope")


async def test_errors_name_items_by_the_callers_numbers(api):
    """Item 150 is item 22 of the third request."""
    given: list[object] = list(texts(200))
    given[150] = None
    with pytest.raises(ingrain.InvalidRequestError, match=r"text\[150\]") as raised:
        await api.embed_text("org/model", given)
    assert raised.value.param == "text[150]"
    given[150] = "\ud800"
    with pytest.raises(ingrain.InvalidRequestError, match=r"text\[150\] is text with lone surrogates"):
        await api.embed_text("org/model", given)
    given[150] = 7j
    with pytest.raises(ingrain.InvalidRequestError, match=r"text\[150\] is a complex"):
        await api.embed_text("org/model", given)


@pytest.mark.both_clients
async def test_the_first_failure_ends_the_call(connect, planes, tap):
    """What fails in the second of 100 requests is told at once; the rest is not sent."""
    planes.engine.latency_s = 0.02
    given = texts(1000)
    given[15] = "poison"
    with pytest.raises(ingrain.InferenceError):
        await connect(batch_size=10, concurrency=2).embed_text("org/model", given)
    assert tap.count(b"POST /embed_text") < 30


@pytest.mark.both_clients
async def test_lost_connections_lose_and_double_nothing(connect, tap):
    """Every third answer is cut in half: all rows come, in order, right."""
    tap.cut = lambda number: number % 3 == 0
    api = connect(retry=ingrain.RetryPolicy(first_pause_s=0.01))
    answer = await api.embed_text("org/model", texts(2000), return_numpy=True)
    np.testing.assert_allclose(answer.embeddings, truth(*texts(2000)), atol=1e-6)
    assert tap.count(b"POST /embed_text") > 32


@pytest.mark.both_clients
async def test_a_server_that_goes_away_and_comes_back_is_waited_for(connect, tap):
    api = connect(batch_size=10, concurrency=4, retry=ingrain.RetryPolicy(first_pause_s=0.05))

    async def restart():
        while tap.count(b"POST /embed_text") < 20:
            await asyncio.sleep(0.005)
        tap.is_down = True
        await asyncio.sleep(1)
        tap.is_down = False

    answer, _ = await asyncio.gather(api.embed_text("org/model", texts(1500), return_numpy=True), restart())
    np.testing.assert_allclose(answer.embeddings, truth(*texts(1500)), atol=1e-6)


@pytest.mark.both_clients
async def test_a_wrong_address_is_told_soon(kind):
    api = Api(kind, "http://127.0.0.1:1", "http://127.0.0.1:1", retry=ingrain.RetryPolicy(first_pause_s=0.01))
    for call in (api.embed_text("a", texts(500)), api.load_model("a", "timm"), api.health()):
        with pytest.raises(ingrain.ServerUnreachableError, match=r"No server answers at http://127.0.0.1:1\."):
            await asyncio.wait_for(call, 30)
    await api.close()


@pytest.mark.both_clients
async def test_a_full_server_is_tried_again_no_sooner_than_it_says(kind, tmp_path):
    """Two requests at a time are let in; the other six come back after `Retry-After` until all are done."""
    async with running_planes(tmp_path, Settings(max_requests=2)) as planes:
        await planes.load()
        planes.engine.latency_s = 0.3
        async with WireTap(str(planes.inference.base_url)) as tap:
            api = Api(kind, tap.url, batch_size=1, return_numpy=True)
            started = asyncio.get_running_loop().time()
            answer = await api.embed_text("org/model", texts(8))
            seconds = asyncio.get_running_loop().time() - started
            await api.close()
            refused = planes.services.telemetry.counts().answers["/embed_text"][429]
            planes.engine.latency_s = 0.6
            once = Api(kind, tap.url, batch_size=1, retry=ingrain.RetryPolicy(most=0))
            with pytest.raises(ingrain.QueueFullError) as raised:
                await once.embed_text("org/model", texts(16)[8:])  # not in the cache
            await once.close()
    np.testing.assert_allclose(answer.embeddings, truth(*texts(8)), atol=1e-6)
    assert refused >= 6
    assert seconds > 1
    assert (raised.value.status, raised.value.retry_after_s) == (429, 1.0)


async def test_a_server_whose_engine_is_away_is_tried_again(connect, planes):
    api = connect(retry=ingrain.RetryPolicy(within_s=30))
    planes.engine.die()

    async def heal():
        await asyncio.sleep(0.5)
        planes.engine.come_back()

    answer, _ = await asyncio.gather(api.embed_text("org/model", "red"), heal())
    np.testing.assert_allclose(answer.embeddings, truth("red"), atol=1e-6)


@pytest.mark.both_clients
async def test_an_answer_that_does_not_come_in_time_is_asked_for_once_more(connect, planes, tap):
    planes.engine.latency_s = 5
    with pytest.raises(ingrain.AnswerTimeoutError, match="in time"):
        await connect(timeout=0.3).embed_text("org/model", "red")
    assert tap.count(b"POST /embed_text") == 2


@pytest.mark.both_clients
async def test_what_changes_models_is_not_repeated_where_it_may_have_been_done(kind, planes):
    """The answer to an unload is lost: a second try would be told that there is nothing to unload."""
    async with WireTap(str(planes.model.base_url)) as tap:
        tap.cut = lambda number: True
        api = Api(kind, str(planes.inference.base_url), tap.url)
        with pytest.raises(ingrain.ServerUnreachableError, match="broke"):
            await api.unload_model("net")
        assert tap.count(b"POST /unload_model") == 1
        assert "net" not in [status.name for status in planes.services.registry.statuses()]
        tap.cut = lambda number: number == 2
        model = await api.load_model("net", "timm")
        assert tap.count(b"POST /load_model") == 2
        tap.cut = lambda number: False
        assert await model.classification_labels() == list(LABELS)
        await api.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("200 OK", ingrain.UnexpectedAnswerError),
        ("502 Bad Gateway", ingrain.EngineUnavailableError),
        ("418 Teapot", ingrain.IngrainError),
        ("404 Not Found", ingrain.NotFoundError),
    ],
)
async def test_what_is_not_ingrain_is_told_as_that(kind, status, error):
    """A proxy's page is no answer, whatever its status; nothing of it is believed."""
    body = b"<html>\xff</html>"
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async with WireTap(answer=head + body) as tap:
        url = tap.url
        api = Api(kind, url, url, retry=ingrain.RetryPolicy(most=1, first_pause_s=0.01))
        for call in (api.embed_text("a", "b"), api.embed_text("a", "b", return_numpy=True), api.loaded_models()):
            with pytest.raises(error) as raised:
                await call
            assert type(raised.value) is error
            assert raised.value.request_id
        await api.close()


RAW = "Content-Type: application/octet-stream\r\nX-Embeddings-Shape: 1,1\r\nX-Processing-Time-Ms: 1\r\n"


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ("Content-Type: application/octet-stream\r\nX-Embeddings-Shape: 1,3\r\nX-Processing-Time-Ms: 1", bytes(8)),
        ("Content-Type: application/octet-stream\r\nX-Embeddings-Shape: 2,1\r\nX-Processing-Time-Ms: 1", bytes(8)),
        ("Content-Type: application/octet-stream", bytes(8)),
        (f"{RAW}X-Embeddings-Dtype: float64", bytes(8)),
        ("Content-Type: application/json", b'{"embeddings": [[1], [2]], "processingTimeMs": 1}'),
        ("Content-Type: application/json", b'{"embeddings": null, "processingTimeMs": 1}'),
    ],
)
async def test_rows_that_do_not_fit_are_never_handed_on(kind, headers, content):
    """One text was sent; a wrong number of rows or bytes is an error, not a shifted result."""
    head = f"HTTP/1.1 200 OK\r\n{headers}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    async with WireTap(answer=head + content) as tap:
        api = Api(kind, tap.url)
        with pytest.raises(ingrain.UnexpectedAnswerError):
            await api.embed_text("a", "b", return_numpy=True)
        await api.close()


@pytest.mark.both_clients
async def test_keys_are_sent_to_their_planes(kind, tmp_path, monkeypatch):
    keys = ["reader:infer+metrics", "keeper:models"]
    async with running_planes(tmp_path, Settings(api_keys=keys)) as planes:
        urls = (str(planes.inference.base_url), str(planes.model.base_url))
        nobody = Api(kind, *urls)
        with pytest.raises(ingrain.AuthenticationError) as raised:
            await nobody.loaded_models()
        assert raised.value.status == 401
        given = Api(kind, *urls, api_key="reader", model_api_key="keeper")
        await given.load_model("org/model", "sentence_transformers")
        await given.embed_text("org/model", "red")
        wrong = Api(kind, *urls, api_key="reader")
        with pytest.raises(ingrain.PermissionDeniedError):
            await wrong.loaded_models()
        monkeypatch.setenv("INGRAIN_API_KEY", "reader")
        monkeypatch.setenv("INGRAIN_MODEL_API_KEY", "keeper")
        monkeypatch.setenv("INGRAIN_INFERENCE_URL", urls[0])
        monkeypatch.setenv("INGRAIN_MODEL_URL", urls[1] + "/")
        environment = Api(kind)
        assert len((await environment.loaded_models()).models) == 1
        await environment.embed_text("org/model", "red")
        for api in (nobody, given, wrong, environment):
            await api.close()


async def test_each_request_has_a_word_of_its_own(connect, tap):
    """Requests of one call share its beginning, so that the server's log tells which belong together."""
    await connect(headers={"X-Team": "search"}).embed_text("org/model", texts(130), request_id="job-7")
    identities = re.findall(rb"X-Request-Id: (\S+)", bytes(tap.sent), re.IGNORECASE)
    assert sorted(identities) == [b"job-7", b"job-7.1", b"job-7.2"]
    assert tap.count(b"X-Team: search") == 3
    assert tap.count(b"ingrain-python/") == 3


@pytest.mark.both_clients
async def test_many_calls_at_once_share_the_connections(connect, tap):
    api = connect(return_numpy=True)
    calls = [api.embed_text("org/model", texts(100 + n)) for n in range(20)]
    for n, answer in enumerate(await asyncio.gather(*calls)):
        np.testing.assert_allclose(answer.embeddings, truth(*texts(100 + n)), atol=1e-6)
    assert tap.connections <= 20


@pytest.mark.both_clients
async def test_a_closed_client_says_so(api):
    await api.embed_text("org/model", "red")
    await api.close()
    for call in (api.embed_text("org/model", texts(200)), api.health()):
        with pytest.raises(ingrain.ClientError, match="closed"):
            await call


@pytest.mark.both_clients
async def test_a_client_closes_with_its_block(kind, planes):
    urls = (str(planes.inference.base_url), str(planes.model.base_url))
    if kind == "async":
        async with ingrain.AsyncClient(*urls) as client:
            assert len((await client.embed_text("org/model", "red")).embeddings) == 1
        with pytest.raises(ingrain.ClientError):
            await client.health()
        return
    with ingrain.Client(*urls) as client:
        assert len((await asyncio.to_thread(client.embed_text, "org/model", "red")).embeddings) == 1
    with pytest.raises(ingrain.ClientError):
        client.health()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"inference_server_url": "localhost:8686"}, "inference plane"),
        ({"timeout": None}, "timeout is None"),
        ({"model_server_url": "ftp://host"}, "model plane"),
        ({"model_server_url": "http://host:99999"}, "model plane"),
        ({"timeout": 0}, "timeout"),
        ({"concurrency": 0}, "concurrency"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"api_key": "ключ"}, "API key"),
        ({"headers": {"X-Team": "ключ"}}, "header X-Team"),
        ({"headers": {"X-Team": 7}}, "header X-Team"),
    ],
)
@pytest.mark.both_clients
def test_what_cannot_be_used_is_told_when_the_client_is_made(kind, options, what):
    with pytest.raises(ingrain.SettingsError, match=what) as raised:
        Api(kind, **options)
    assert "ключ" not in str(raised.value)
