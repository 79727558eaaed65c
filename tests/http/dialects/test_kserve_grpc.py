"""KServe's dialect over gRPC: the same numbers as over HTTP; keys, limits, errors and the server's end hold too."""

import asyncio
import base64
import queue
import re
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc as blocking_triton
import tritonclient.grpc.aio as triton
import trustme
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from ingrain.app.grpc_port import grpc_server
from ingrain.app.limits import http_limits
from ingrain.server.dialects.kserve.grpc_service import SERVICE
from ingrain.server.dialects.table import DIALECTS
from ingrain.server.grpc.server import GrpcServer
from ingrain.server.http.tls import TlsCertificate
from ingrain.settings import Settings
from keys_files import entry, header, secret, write_keys
from neighbours import (
    DOCUMENTS,
    LONG,
    PICTURE,
    QUERY,
    TEXTS,
    ask,
    native_classes,
    native_image,
    native_ranking,
    native_vectors,
    running_models,
)

PROTO = Path(__file__).parents[3] / "docs" / "dialects" / "open_inference.proto"
FILE = base64.b64decode(PICTURE.partition(",")[2])
KEY = {"authorization": "Bearer secret"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def serving(planes, tls=None, **settings):
    """Serve gRPC on the planes' services; yield the server and its address."""
    server = GrpcServer(SERVICE, planes.services, http_limits(Settings(**settings)), tls=tls)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.stop(0.1)


@asynccontextmanager
async def stub_of(address):
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def planes(tmp_path_factory):
    models = ("dense", "reranker", "classifier", "clip", "sparse", "bge-m3")
    async with running_models(tmp_path_factory.mktemp("planes"), *models) as planes:
        yield planes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(planes):
    async with serving(planes) as (_, address):
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(address):
    async with stub_of(address) as stub:
        yield stub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(address):
    async with triton.InferenceServerClient(address) as client:
        yield client


def tensor(name, items, module=triton):
    given = module.InferInput(name, [len(items)], "BYTES")
    given.set_data_from_numpy(np.array(items, dtype=object))
    return given


def typed(name, items, **fields):
    contents = pb.InferTensorContents(bytes_contents=[item.encode() for item in items])
    given = {"name": name, "datatype": "BYTES", "shape": [len(items)], "contents": contents} | fields
    return pb.ModelInferRequest.InferInputTensor(**given)


def asking(model="dense", texts=TEXTS, **fields):
    return pb.ModelInferRequest(**{"model_name": model, "inputs": [typed("text", texts)]} | fields)


async def failure(call):
    """Return the error of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def counted(planes, method, status):
    """Return how many answers of a method with this status the metrics count."""
    text = (await planes.inference.get("/metrics", headers={"accept": "text/plain"} | KEY)).text
    name = re.escape(f'route="/inference.GRPCInferenceService/{method}",status="{status}"')
    return sum(map(float, re.findall(rf"ingrain_requests_total\{{{name}\}} (\S+)", text)))


# --- numbers -------------------------------------------------------------------------------------------------------


async def test_vectors_of_texts_raw_and_typed(planes, client, stub):
    expected = await native_vectors(planes, TEXTS)
    done = await client.infer("dense", [tensor("text", TEXTS)], model_version="1", request_id="7")
    np.testing.assert_allclose(done.as_numpy("embedding"), expected, atol=1e-6)
    assert (done.get_response().id, done.get_response().model_version) == ("7", "1")
    answer = await stub.ModelInfer(asking())
    assert not answer.raw_output_contents, "as the inputs are"
    rows = np.reshape(answer.outputs[0].contents.fp32_contents, answer.outputs[0].shape)
    np.testing.assert_allclose(rows, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "native", "kind"),
    [
        ({"normalize": False}, {"normalize": False}, np.float32),
        ({"n_dims": 3}, {"nDims": 3}, np.float32),
        ({"output_dtype": "int8"}, {"outputDtype": "int8"}, np.int8),
        ({"output_dtype": "ubinary"}, {"outputDtype": "ubinary"}, np.uint8),
        ({"prompt": "green "}, {"prompt": "green "}, np.float32),
        ({"input_type": "query"}, {"inputType": "query"}, np.float32),
    ],
)
async def test_options_are_those_of_the_own_api(planes, client, stub, parameters, native, kind):
    expected = await native_vectors(planes, TEXTS, **native)
    done = await client.infer("dense", [tensor("text", TEXTS)], parameters=parameters, priority=1, timeout=9)
    vectors = done.as_numpy("embedding")
    assert vectors.dtype == kind
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    request = asking()
    for name, value in parameters.items():
        field = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(request.parameters[name], field, value)
    (output,) = (await stub.ModelInfer(request)).outputs
    contents = getattr(output.contents, output.contents.ListFields()[0][0].name)
    np.testing.assert_allclose(np.reshape(contents, output.shape), expected, atol=1e-6)


async def test_many_texts_are_read_in_a_thread(planes, client):
    texts = [f"red w{n % 90} {'green ' * 20}" for n in range(1500)]
    done = await client.infer("dense", [tensor("text", texts)], compression_algorithm="gzip")
    np.testing.assert_allclose(done.as_numpy("embedding"), await native_vectors(planes, texts), atol=1e-6)


async def test_images_scores_classes_and_sparse_vectors(planes, client, stub):
    done = await client.infer("clip", [tensor("image", [FILE, PICTURE.encode()]), tensor("text", TEXTS)])
    image = await native_image(planes)
    np.testing.assert_allclose(done.as_numpy("image_embedding"), [image, image], atol=1e-6)
    np.testing.assert_allclose(done.as_numpy("text_embedding"), await native_vectors(planes, TEXTS, "clip"), atol=1e-6)
    ranking = await native_ranking(planes)
    done = await client.infer("reranker", [tensor("query", [QUERY]), tensor("document", DOCUMENTS)])
    np.testing.assert_allclose(done.as_numpy("score"), [ranking[n] for n in range(len(DOCUMENTS))], atol=1e-6)
    named = triton.InferRequestedOutput("probability", class_count=1)
    done = await client.infer("classifier", [tensor("text", TEXTS)], outputs=[named])
    best = [max(scores, key=scores.get) for scores in await native_classes(planes, TEXTS)]
    assert [row[0].decode().split(":")[2] for row in done.as_numpy("probability")] == best
    request = asking("classifier", outputs=[{"name": "probability"}])
    request.outputs[0].parameters["classification"].int64_param = 1
    (output,) = (await stub.ModelInfer(request)).outputs
    assert [row.decode().split(":")[2] for row in output.contents.bytes_contents] == best
    names = ["indices", "values"]
    wanted = [triton.InferRequestedOutput(name) for name in names]
    done = await client.infer("bge-m3", [tensor("text", TEXTS)], outputs=wanted, parameters={"top_k": 3})
    native = await ask(planes, "/embed_sparse", name="bge-m3", text=TEXTS, topK=3)
    for indices, values, expected in zip(*map(done.as_numpy, names), native["embeddings"], strict=True):
        assert indices[indices >= 0].tolist() == expected["indices"]
        np.testing.assert_allclose(values[indices >= 0], expected["values"], atol=1e-6)


async def test_truncation_is_told(stub):
    call = stub.ModelInfer(asking(texts=[LONG, "red"]), metadata=(("x-request-id", "mine"),))
    assert (await call).parameters["truncated_texts"].int64_param == 1
    metadata = dict(await call.trailing_metadata())
    assert (metadata["x-truncated-texts"], metadata["x-request-id"]) == ("1", "mine")


async def test_the_server_and_its_models_are_described(planes, client):
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("dense", "1")
    assert not await client.is_model_ready("dense", "2")
    assert not await client.is_model_ready("absent")
    assert (await client.get_server_metadata()).name == "ingrain"
    index = (await client.get_model_repository_index()).models
    assert ("dense", "1", "READY") in [(one.name, one.version, one.state) for one in index]
    for model in ("dense", "reranker", "clip", "sparse"):
        found = await client.get_model_metadata(model, as_json=True)
        native = (await planes.inference.get(f"/v2/models/{model}")).json()
        for tensors in ("inputs", "outputs"):
            native[tensors] = [one | {"shape": [str(size) for size in one["shape"]]} for one in native[tensors]]
        assert found == native


async def test_the_blocking_client_works_too(planes, address):
    expected = await native_vectors(planes, TEXTS)

    def run():
        with blocking_triton.InferenceServerClient(address) as client:
            given = [tensor("text", TEXTS, blocking_triton)]
            vectors = client.infer("dense", given).as_numpy("embedding")
            answers = queue.Queue()
            client.start_stream(lambda result, error: answers.put((result, error)))
            client.async_stream_infer("dense", given, request_id="a", enable_empty_final_response=True)
            client.async_stream_infer("absent", given, request_id="b")
            streamed = [answers.get(timeout=30) for _ in range(2)]
            client.stop_stream()
            return vectors, streamed

    vectors, streamed = await asyncio.to_thread(run)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    (result,) = [result for result, _ in streamed if result is not None]
    (error,) = [error for _, error in streamed if error is not None]
    np.testing.assert_allclose(result.as_numpy("embedding"), expected, atol=1e-6)
    assert result.get_response().parameters["triton_final_response"].bool_param
    assert "absent" in error.message()


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"model_name": "absent"}, "NOT_FOUND", "absent"),
        ({"model_name": ""}, "NOT_FOUND", "''"),
        ({"model_version": "2"}, "NOT_FOUND", "version"),
        ({"inputs": []}, "INVALID_ARGUMENT", "no inputs"),
        ({"inputs": [typed("words", TEXTS)]}, "INVALID_ARGUMENT", "its inputs are text"),
        ({"inputs": [typed("text", TEXTS)] * 2}, "INVALID_ARGUMENT", "twice"),
        ({"inputs": [typed("text", TEXTS, shape=[4])]}, "INVALID_ARGUMENT", "shape"),
        ({"inputs": [typed("text", TEXTS, shape=[-1])]}, "INVALID_ARGUMENT", "shape"),
        ({"inputs": [typed("text", TEXTS, datatype="FP32")]}, "INVALID_ARGUMENT", "BYTES"),
        ({"inputs": [typed("text", [])]}, "INVALID_ARGUMENT", "empty"),
        ({"raw_input_contents": [b"\3\0\0\0red"]}, "INVALID_ARGUMENT", "only one may hold data"),
        ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "raw_input_contents"),
        (
            {"inputs": [typed("text", "a", contents=None)], "raw_input_contents": [b"\3\0\0\0re"]},
            "INVALID_ARGUMENT",
            "0",
        ),
        (
            {"inputs": [typed("text", "a", contents={"bytes_contents": [b"\xff"]})]},
            "INVALID_ARGUMENT",
            "UTF-8",
        ),
        ({"outputs": [{"name": "score"}]}, "INVALID_ARGUMENT", "its outputs are embedding"),
        ({"parameters": {"temperature": {"int64_param": 1}}}, "INVALID_ARGUMENT", "temperature"),
        ({"parameters": {"normalize": {"string_param": "perhaps"}}}, "INVALID_ARGUMENT", "normalize"),
        ({"parameters": {"n_dims": {"int64_param": 9}}}, "INVALID_ARGUMENT", "n_dims"),
        (
            {"inputs": [typed("text", TEXTS, parameters={"shared_memory_region": {"string_param": "a"}})]},
            "INVALID_ARGUMENT",
            "shared memory",
        ),
        (
            {"inputs": [typed("text", [LONG])], "parameters": {"truncate": {"bool_param": False}}},
            "INVALID_ARGUMENT",
            "tokens",
        ),
        ({"inputs": [typed("text", ["red poison"])]}, "INTERNAL", "text[0]"),
    ],
)
async def test_mistakes_have_their_status(stub, fields, code, word):
    error = await failure(stub.ModelInfer(asking(**fields)))
    assert error.code().name == code, error
    assert word in error.details()
    assert len(dict(error.trailing_metadata())["x-request-id"]) == 32


async def test_what_is_no_message_and_what_is_no_method(address, client):
    async with grpc.aio.insecure_channel(address) as channel:
        for path in ("ModelInfer", "ModelMetadata"):
            error = await failure(channel.unary_unary(f"/inference.GRPCInferenceService/{path}")(b"\xff\xff"))
            assert (error.code(), "not a valid" in error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        call = channel.stream_unary("/inference.GRPCInferenceService/ServerLive")(iter(()))
        assert (await failure(call)).code() is grpc.StatusCode.INVALID_ARGUMENT
        for path in ("/inference.GRPCInferenceService/ModelTrain", "/grpc.Other/Method"):
            assert (await failure(channel.unary_unary(path)(b""))).code() is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
        await client.get_model_config("dense")


async def test_keys_are_needed_with_their_scope(tmp_path):
    settings = {"api_keys": ("secret", "scrape:metrics")}
    async with running_models(tmp_path, **settings) as planes, serving(planes) as (_, address):
        await planes.load("dense", key="secret")
        async with stub_of(address) as stub:
            for metadata in ((), (("authorization", "Bearer wrong"),)):
                error = await failure(stub.ModelInfer(asking(), metadata=metadata))
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
                error = await failure(stub.ModelStreamInfer(iter(()), metadata=metadata).read())
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
                assert (await stub.ServerReady(pb.ServerReadyRequest(), metadata=metadata)).ready
                error = await failure(stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata))
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
                for call in (stub.ModelReady, stub.ModelMetadata):
                    error = await failure(call(pb.ModelReadyRequest(name="dense"), metadata=metadata))
                    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            error = await failure(stub.ModelInfer(asking(), metadata=(("x-api-key", "scrape"),)))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            for name, value in (("authorization", "Bearer secret"), ("api-key", "secret"), ("x-api-key", "secret")):
                await stub.ModelInfer(asking(), metadata=((name, value),))
            assert await counted(planes, "ModelInfer", 200) == 3
            assert await counted(planes, "ModelInfer", 401) == 2
            assert await counted(planes, "ModelInfer", 403) == 1


async def test_a_named_key_has_its_limit_and_its_models_in_calls_and_in_each_message_of_a_stream(tmp_path):
    path = write_keys(
        tmp_path / "keys.json",
        entry("few", requests_per_minute=3, models=("dense",)),
        entry("boss", scopes=("models",)),
    )
    async with running_models(tmp_path / "root", keys_file=path) as planes, serving(planes) as (_, address):
        await planes.load("dense", key=secret("boss"))
        async with stub_of(address) as stub:
            few = tuple(header("few").items())
            call = stub.ModelInfer(asking(), metadata=few)
            await call
            assert dict(await call.trailing_metadata())["x-ratelimit-remaining-requests"] == "2"
            error = await failure(stub.ModelMetadata(pb.ModelMetadataRequest(name="other"), metadata=few))
            assert (error.code(), "'other'" in error.details()) == (grpc.StatusCode.PERMISSION_DENIED, True)
            stream = stub.ModelStreamInfer(iter([asking(), asking()]), metadata=few)
            told = [(await stream.read()).error_message for _ in range(2)]
            assert sorted(message[:22] for message in told) == ["", "The API key's limit of"]
            error = await failure(stub.ModelInfer(asking(), metadata=few))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert int(dict(error.trailing_metadata())["retry-after"]) > 30


# --- limits, deadlines, the end ------------------------------------------------------------------------------------


@asynccontextmanager
async def slow_server(tmp_path, **settings):
    """A server whose engine takes very long; yield the planes, the server, its stub and a call of it in progress."""
    async with (
        running_models(tmp_path, "dense", cache_bytes=0, **settings) as planes,
        serving(planes, **settings) as (server, address),
        stub_of(address) as stub,
    ):
        planes.engine.latency_s = 60
        yield planes, server, stub
        planes.engine.die()


async def begin(planes, number, call):
    """Start a call, and wait until so many requests are in progress."""
    task = asyncio.ensure_future(call)
    async with asyncio.timeout(30):
        while planes.services.load.requests < number:
            await asyncio.sleep(0.01)
    return task


async def idle(planes):
    """Wait until no request is in progress."""
    async with asyncio.timeout(30):
        while planes.services.load.in_progress:
            await asyncio.sleep(0.01)


async def test_requests_beyond_the_limit_are_refused_at_once(tmp_path):
    async with slow_server(tmp_path, max_requests=1) as (planes, _, stub):
        held = await begin(planes, 1, stub.ModelInfer(asking()))
        error = await failure(stub.ModelInfer(asking()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(error.trailing_metadata())["retry-after"] == "1"
        assert "INGRAIN_MAX_REQUESTS" in error.details()
        streamed = await stub.ModelStreamInfer(iter([asking(id="a")])).read()
        assert (streamed.infer_response.id, "INGRAIN_MAX_REQUESTS" in streamed.error_message) == ("a", True)
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        held.cancel()
        await idle(planes)
        assert await counted(planes, "ModelInfer", 429) == 1
        assert await counted(planes, "ModelInfer", 499) == 1


async def test_sizes_are_limited(tmp_path):
    limits = {"max_image_body_bytes": 2000, "max_body_bytes": 1000, "max_bodies_bytes": 1500, "max_items": 2}
    async with (
        running_models(tmp_path, "dense", **limits) as planes,
        serving(planes) as (_, address),
        stub_of(address) as stub,
    ):
        for texts, code, word in (
            (["red " * 1000], grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
            (["red " * 450], grpc.StatusCode.INVALID_ARGUMENT, "INGRAIN_MAX_BODIES_BYTES"),
            (["red"] * 3, grpc.StatusCode.INVALID_ARGUMENT, "INGRAIN_MAX_ITEMS"),
        ):
            error = await failure(stub.ModelInfer(asking(texts=texts)))
            assert (error.code(), word in error.details()) == (code, True), error
        error = await failure(stub.ModelMetadata(pb.ModelMetadataRequest(name="x" * 1100)))
        assert "INGRAIN_MAX_BODY_BYTES" in error.details()
        error = await failure(stub.ModelInfer(asking(texts=["red"] * 450), compression=grpc.Compression.Gzip))
        assert "larger than max" in error.details()
        await stub.ModelInfer(asking(texts=["red"]))
        assert planes.services.bodies.held_bytes == 0


async def test_a_clients_deadline_and_a_clients_leaving_cancel_the_work(tmp_path):
    async with slow_server(tmp_path) as (planes, _, stub):
        (queued,) = [one for name, one in planes.services.registry.queues() if name.startswith("dense")]
        busy = [await begin(planes, number + 1, stub.ModelInfer(asking())) for number in range(8)]
        waiting = queued.queued_tokens
        assert waiting > 0
        error = await failure(stub.ModelInfer(asking(), timeout=0.3))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(30):
            while planes.services.load.requests > len(busy):  # the server learns of it a little later
                await asyncio.sleep(0.01)
        stream = stub.ModelStreamInfer()
        await stream.write(asking())
        await begin(planes, 9, asyncio.sleep(0))
        stream.cancel()
        for call in busy:
            call.cancel()
        await idle(planes)
        assert queued.queued_tokens < waiting
        assert await counted(planes, "ModelInfer", 499) == 9
        assert await counted(planes, "ModelStreamInfer", 499) == 1


async def test_the_servers_deadline_and_one_for_the_message(tmp_path):
    async with slow_server(tmp_path, request_timeout_s=0.3) as (planes, _, stub):
        error = await failure(stub.ModelInfer(asking()))
        assert (error.code(), "0.3 s" in error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
        async with (
            serving(planes, request_timeout_s=0.3) as (_, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            silent = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")()
            error = await failure(silent)
            assert "did not arrive" in error.details()


async def test_the_end_waits_for_calls_and_refuses_those_that_last(tmp_path):
    async with slow_server(tmp_path) as (planes, server, stub):
        planes.engine.latency_s = 0.5
        quick = await begin(planes, 1, stub.ModelInfer(asking()))
        idle_stream = stub.ModelStreamInfer()
        await idle_stream.write(asking(id="a"))
        assert (await idle_stream.read()).infer_response.id == "a"
        await idle_stream.write(asking(id="b"))
        await begin(planes, 1, asyncio.sleep(0))
        stopping = asyncio.create_task(server.stop(20))
        assert len((await quick).outputs) == 1
        assert (await idle_stream.read()).infer_response.id == "b"
        error = await failure(idle_stream.read())
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
        async with asyncio.timeout(10):
            await stopping
        assert (await failure(stub.ServerLive(pb.ServerLiveRequest()))).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("is_hurried", [False, True])
async def test_the_end_gives_up_what_lasts_too_long(tmp_path, is_hurried):
    async with slow_server(tmp_path) as (planes, server, stub):
        held = await begin(planes, 1, stub.ModelInfer(asking()))
        stream = stub.ModelStreamInfer()
        await stream.write(asking())
        await begin(planes, 2, asyncio.sleep(0))
        stopping = asyncio.create_task(server.stop(60 if is_hurried else 0.2))
        if is_hurried:
            await asyncio.sleep(0.1)
            server.hurry()
        for call in (held, stream.read()):
            error = await failure(call)
            assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
            assert dict(error.trailing_metadata())["retry-after"] == "5"
        async with asyncio.timeout(10):
            await stopping
        assert planes.services.load.in_progress == 0
        assert planes.services.bodies.held_bytes == 0


async def test_answers_of_a_stream_come_in_the_order_of_completion(tmp_path):
    async with (
        running_models(tmp_path, "dense") as planes,
        serving(planes) as (_, address),
        stub_of(address) as stub,
    ):
        await planes.embed(["green"], "dense")  # now it is cached
        planes.engine.latency_s = 60
        stream = stub.ModelStreamInfer()
        await stream.write(asking(id="slow", texts=["w1 w2"]))
        for number in range(100):  # more than may be in progress at once
            await stream.write(asking("dense" if number % 2 else "absent", id=str(number), texts=["green"]))
        answers = [await stream.read() for _ in range(100)]
        assert {answer.infer_response.id for answer in answers} == set(map(str, range(100)))
        for answer in answers:
            assert ("absent" in answer.error_message) == (int(answer.infer_response.id) % 2 == 0)
            assert bool(answer.infer_response.outputs) == (not answer.error_message)
        await stream.done_writing()
        planes.engine.die()
        last = await stream.read()
        assert (last.infer_response.id, bool(last.error_message)) == ("slow", True)
        assert await stream.read() is grpc.aio.EOF


# --- TLS, settings, the published messages -------------------------------------------------------------------------


async def test_the_certificate_is_the_planes_and_is_renewed(planes, tmp_path):
    file = tmp_path / "server.pem"

    def issue():
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(file)
        return grpc.ssl_channel_credentials(authority.cert_pem.bytes())

    async def is_live(credentials):
        async with grpc.aio.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)]) as c:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(c)
            return (await stub.ServerLive(pb.ServerLiveRequest(), timeout=20)).live

    first = issue()
    tls = TlsCertificate.from_files(file, file)
    async with serving(planes, tls) as (_, address):
        assert await is_live(first)
        second = issue()
        tls.reload_if_changed()
        assert await is_live(second)
        assert (await failure(is_live(first))).code() is grpc.StatusCode.UNAVAILABLE
        async with stub_of(address) as plain:
            assert (await failure(plain.ServerLive(pb.ServerLiveRequest()))).code() is grpc.StatusCode.UNAVAILABLE


async def test_there_is_a_server_only_with_a_port_and_the_dialect(planes):
    make = partial(grpc_server, services=planes.services, tls=None)
    assert make(Settings(), DIALECTS) is None
    assert make(Settings(grpc_port=1), [one for one in DIALECTS if one.key != "kserve"]) is None
    server = make(Settings(grpc_port=1), DIALECTS)
    assert server is not None
    await server.stop(0)


def written_messages():
    """Return the fields of each message in the published file: name, number and type."""
    text = re.sub(r"//.*", "", PROTO.read_text(encoding="utf-8"))
    messages, scope = {}, []
    pattern = r"(message|oneof) (\w+) \{|(\})|((?:repeated )?(?:map<string, \w+>|\w+)) (\w+) = (\d+);"
    for kind, name, end, type_, field, number in re.findall(pattern, text[text.index("message ") :]):
        if kind:
            scope.append(name if kind == "message" else "")
            messages.setdefault(".".join(filter(None, scope)), set())
        elif end:
            scope.pop()
        else:
            messages[".".join(filter(None, scope))].add((field, int(number), type_))
    return messages


def type_of(field):
    """Return the type of a field as a file of messages has it."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return f"map<string, {field.message_type.fields_by_name['value'].message_type.name}>"
    kinds = {kind.number: kind.name for kind in FieldDescriptorProto.Type.DESCRIPTOR.values}
    name = field.message_type.name if field.message_type is not None else kinds[field.type][5:].lower()
    return f"repeated {name}" if field.is_repeated else name


async def test_the_published_messages_are_those_of_tritons_client():
    """Every message with all its fields, and every method that is served."""
    found = re.findall(r"rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\)", PROTO.read_text(encoding="utf-8"))
    assert {name for name, *_ in found} == set(SERVICE.methods)
    for name, streams, given, _, returned in found:
        method = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name]
        assert (method.input_type.name, method.output_type.name) == (given, returned)
        assert bool(streams) == (SERVICE.methods[name].refusal is not None)
    messages = written_messages()
    assert len(messages) > 20
    for path, fields in messages.items():
        outer, *inner = path.split(".")
        described = pb.DESCRIPTOR.message_types_by_name[outer]
        for name in inner:
            described = described.nested_types_by_name[name]
        assert fields == {(one.name, one.number, type_of(one)) for one in described.fields}, path
