"""Bodies that are large, or would become so: bounded by route and in sum, and nothing is built of what is refused."""

import asyncio
import contextlib
import gzip
import json
import re
import threading
import tracemalloc

import pytest

from images import encode, scene
from ingrain.api import types
from ingrain.api.openai import OpenAIEmbeddingsRequest
from ingrain.api.rerank import RerankRequest, ScoreRequest
from ingrain.errors import InvalidRequestError, TooLargeError
from ingrain.server.plane import detach as detach_module
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.prepare import LARGE_BODY, LongStrings, _decode, check_values
from ingrain.settings import Settings
from planes import running_planes

JUNK = b"[" + b"[]," * 300_000 + b"[]]"
NO_FORMS = ("/embed_text", "/infer_text", "/v1/embeddings")
WORDS = [" ".join(f"w{(n + k) % 100}" for k in range(30)) for n in range(2_000)]


def embedding(**fields) -> bytes:
    return json.dumps({"name": "org/model", "text": "red", **fields}).encode()


def with_junk(field: str, kind: type = types.EmbedTextRequest) -> bytes:
    good = {"name": "m", "text": "t"} if kind is types.EmbedTextRequest else {"model": "m", "input": "t"}
    good.pop(field, None)
    return json.dumps(good).encode()[:-1] + b', "' + field.encode() + b'": ' + JUNK + b"}"


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        (with_junk("unknown"), types.EmbedTextRequest, "unknown"),
        (with_junk("text"), types.EmbedTextRequest, "text[0]"),
        (with_junk("n_dims"), types.EmbedTextRequest, "nDims"),
        (with_junk("library"), types.EmbedTextRequest, "library"),
        (with_junk("user", OpenAIEmbeddingsRequest), OpenAIEmbeddingsRequest, "user"),
        (JUNK, types.EmbedTextRequest, None),
    ],
)
def test_a_field_that_is_refused_is_not_built(body, kind, param):
    """Each of the lists would take some sixty bytes."""
    decode(b'{"name": "m", "text": "t", "model": "m", "input": "t"}', OpenAIEmbeddingsRequest)  # what is made once
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError) as caught:
            decode(body, kind)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.param == param
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"' + b"k" * 3_000_000 + b'": 1}', "k" * 100),
        (b'{"' + b"` - at `$" * 300_000 + b'": 1}', None),
        (b'{"name": "m", "text": "t", "library": "' + b"k" * 3_000_000 + b'"}', "library"),
        (b'{"name": "m", "text": "t", "library": "' + b" - at `$.name`" * 200_000 + b'"}', "library"),
        (b'{"name": "m", "text": "t", "nDims": ' + b"9" * 3_000_000 + b"}", "nDims"),
    ],
)
def test_what_a_caller_sent_is_not_sent_back_at_length(body, param):
    with pytest.raises(InvalidRequestError) as caught:
        decode(body, types.EmbedTextRequest)
    assert len(caught.value.message) < 500
    assert param is None or caught.value.param == param


def test_a_field_that_is_passed_over_is_not_built():
    body = with_junk("unknown", OpenAIEmbeddingsRequest)
    tracemalloc.start()
    try:
        assert decode(body, OpenAIEmbeddingsRequest).input == "t"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "is_refused"),
    [
        (b'["a", "b"]', False),
        (b'["' + b"[,{" * 10_000 + b'"]', False),
        (b'["' + b'\\"[,{\\\\' * 10_000 + b'"]', False),
        (b'["' + b"\\" * 20_000 + b'"]', False),
        (b"[" + b"1," * 100_000 + b"1]", False),
        (b"[" + b"1," * 2_100_000 + b"1]", True),
        (b"[" + b"[]," * 2_000 + b"1]", True),
        (b"[" + b"{}," * 2_000 + b"1]", True),
        (b"[" + b'"",' * 2_000 + b"1]", True),
        (b"[" * 2_000, True),
        (b'["a' + b"\\", False),
        (b'["a', False),
    ],
)
def test_values_are_counted_outside_of_strings(body, is_refused):
    with pytest.raises(TooLargeError) if is_refused else contextlib.nullcontext():
        check_values(body, most_items=10)


@pytest.mark.parametrize(
    "long", ["x" * 200_000, "é\u4e2d" * 100_000, 'a "quoted" \n one' + "y" * 200_000, "z" * 131_072]
)
@pytest.mark.parametrize("place", ["alone", "in a list", "twice"])
def test_long_strings_are_back_in_their_places(long, place):
    """They are taken out of the JSON, unless they hold escapes, and put back after it is decoded."""
    input_ = {"alone": long, "in a list": ["a", long, "b"], "twice": [long, long + "w"]}[place]
    for ascii_only in (False, True):
        body = json.dumps({"model": "m", "input": input_, "other": [long]}, ensure_ascii=ascii_only).encode()
        strings = LongStrings()
        short = strings.cut_out(body)
        assert (len(short) < len(body)) == (
            (long.isascii() and '"' not in long) or (not ascii_only and '"' not in long)
        )
        assert strings.put_back(decode(short, OpenAIEmbeddingsRequest)).input == input_


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ScoreRequest, {"pairs": [["red", "LONG"], ["LONG", "green"]]}),
        (RerankRequest, {"query": "LONG", "documents": [{"text": "LONG", "LONG": {"LONG": ["LONG"]}}]}),
        (RerankRequest, {"query": "red", "documents": [{"text": "LONG", "deep": json.loads("[" * 600 + "]" * 600)}]}),
        (types.ZeroShotRequest, {"image": "LONG", "labels": ["LONG"], "templates": ["LONG {}"]}),
    ],
)
def test_a_large_body_is_decoded_as_a_small_one(kind, fields):
    """Wherever a long string may stand, also in pairs, in names of fields and beside values that nest deep."""
    body = json.dumps({"name": "m", **fields}).replace("LONG", "x" * 140_000).encode()
    assert _decode(body, kind, most_items=10).value == decode(body, kind)


def test_a_long_template_needs_its_place_as_a_short_one():
    body = json.dumps({"name": "m", "image": "i", "labels": ["a"], "templates": ["x" * 140_000]}).encode()
    with pytest.raises(InvalidRequestError):
        _decode(body, types.ZeroShotRequest, most_items=10)


@pytest.mark.parametrize(
    "body", [b'{"name": "%s", "text": "t"}', b'{"name": "m", "text": "%s', b'{"%s": 1}', b'"%s"', b'{"library": "%s"}']
)
def test_a_long_string_in_a_wrong_place_is_refused_as_a_short_one(body):
    for name in (b"n" * 200_000, b"\xff" * 200_000, b"n" * 200_000 + b"\n", b"n" * 200_000 + b"\\ud800"):
        with pytest.raises(InvalidRequestError) as refused:
            _decode(body % name, types.EmbedTextRequest, most_items=10)
        with pytest.raises(InvalidRequestError) as expected:
            decode(body % name, types.EmbedTextRequest)
        # A place in what is left of the body would be a wrong one.
        without_place = re.sub(r"( at|: look at|: it ends too soon, at) byte \d+", "", expected.value.message)
        assert refused.value.message in (expected.value.message, without_place)
        assert len(refused.value.message) < 400


async def test_large_bodies_are_answered_as_small_ones(planes):
    for text in (WORDS, WORDS[:3]):
        assert (len(embedding(text=text)) > LARGE_BODY) == (len(text) > 3)
        answer = await planes.embed(text)
        assert answer.status_code == 200, answer.text
        assert answer.json()["embeddings"][:3] == (await planes.embed(WORDS[:3])).json()["embeddings"]
    openai = {"model": "org/model", "input": WORDS, "unknown": [[]] * 1_000}
    assert (await planes.inference.post("/v1/embeddings", json=openai)).status_code == 200
    for fields, param in (({"normalise": True}, "normalise"), ({"nDims": "8"}, "nDims"), ({"text": [*WORDS, 1]}, None)):
        answer = await planes.inference.post("/embed_text", content=embedding(**{"text": WORDS, **fields}))
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == (param or "text[2000]")


@pytest.mark.parametrize("path", ["/embed_text", "/embed", "/infer_text", "/v1/embeddings", "/embed_image"])
async def test_a_body_of_too_many_values_is_413_on_every_route(planes, path):
    """Also where it says that it is a form, to a route that takes none."""
    types = ["application/json"] + (["multipart/form-data; boundary=b"] if path in NO_FORMS else [])
    for media_type in types:
        headers = {"content-type": media_type}
        answer = await planes.inference.post(path, content=b'{"name": "m", "input": ' + JUNK + b"}", headers=headers)
        assert answer.status_code == 413, answer.text
        assert "INGRAIN_MAX_ITEMS" in answer.text


async def test_each_kind_of_route_has_its_limit(tmp_path):
    settings = Settings(max_body_bytes=1_000, max_image_body_bytes=5_000)
    async with running_planes(tmp_path, settings) as planes:
        await planes.load()
        for client, path, most, setting in (
            (planes.inference, "/embed_text", 1_000, "INGRAIN_MAX_BODY_BYTES"),
            (planes.model, "/load_model", 1_000, "INGRAIN_MAX_BODY_BYTES"),
            (planes.inference, "/embed_image", 5_000, "INGRAIN_MAX_IMAGE_BODY_BYTES"),
            (planes.inference, "/v1/embeddings", 5_000, "INGRAIN_MAX_IMAGE_BODY_BYTES"),
        ):
            assert (await client.post(path, content=b" " * most)).status_code == 400
            for content in (b" " * (most + 1), gzip.compress(b" " * (most + 1))):
                headers = {"content-encoding": "gzip"} if content[:1] != b" " else {}
                answer = await client.post(path, content=content, headers=headers)
                assert answer.status_code == 413
                assert f"({setting})" in answer.text


async def test_what_a_small_gzip_file_becomes_is_limited_and_counted(tmp_path):
    settings = Settings(max_body_bytes=2_000_000, max_bodies_bytes=1_000_000)
    async with running_planes(tmp_path, settings) as planes:
        for size, status in ((500_000_000, 413), (1_500_000, 413), (999_900, 429), (500_000, 400)):
            content = gzip.compress(b" " * size)
            answer = await planes.inference.post("/embed_text", content=content, headers={"content-encoding": "gzip"})
            assert answer.status_code == status
        assert planes.services.bodies.held_bytes == 0


async def test_a_body_that_can_never_be_held_is_too_large(tmp_path):
    async with running_planes(tmp_path, Settings(max_bodies_bytes=300_000)) as planes:
        answer = await planes.inference.post("/embed_text", content=b" " * 300_001)
    assert answer.status_code == 413
    assert "(INGRAIN_MAX_BODIES_BYTES)" in answer.text


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_all_bodies_at_once_are_limited(tmp_path, is_chunked):
    async with running_planes(tmp_path, Settings(max_bodies_bytes=300_000)) as planes:
        await planes.load()
        bodies, half = planes.services.bodies, embedding(prompt=" " * 100_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", planes.inference.base_url.port)
        writer.write(b"POST /embed_text HTTP/1.1\r\nHost: localhost\r\nContent-Length: 250000\r\n\r\n" + half)
        async with asyncio.timeout(30):
            while bodies.held_bytes < len(half):
                await asyncio.sleep(0.01)

        async def pieces():
            for _ in range(25):
                yield b" " * 10_000

        large = pieces() if is_chunked else b" " * 250_000
        answer = await planes.inference.post("/embed_text", content=large)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
        assert "INGRAIN_MAX_BODIES_BYTES" in answer.text
        assert answer.headers["retry-after"] == "1"
        assert (await planes.embed("red")).status_code == 200
        writer.write(b" " * (250_000 - len(half)))
        assert b"200 OK" in await asyncio.wait_for(reader.readline(), 30)
        writer.close()
        answer = await planes.inference.post("/embed_text", content=b" " * 250_000)
        assert answer.status_code == 400
        assert bodies.held_bytes == 0


async def test_a_caller_that_leaves_gives_back_what_its_body_held(planes):
    _, writer = await asyncio.open_connection("127.0.0.1", planes.inference.base_url.port)
    writer.write(b"POST /embed_text HTTP/1.1\r\nHost: localhost\r\nContent-Length: 250000\r\n\r\n" + b" " * 100_000)
    async with asyncio.timeout(30):
        while not planes.services.bodies.held_bytes:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while planes.services.bodies.held_bytes:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("plane", "path"), [("model", "/load_model"), ("inference", "/api/show"), ("inference", "/embed_text")]
)
async def test_a_caller_that_leaves_while_its_body_is_decompressed_holds_nothing(planes, plane, path):
    """Requests that change state go on without their client."""
    held = threading.Event()
    planes.services.parsing.submit(held.wait, 30)
    body = gzip.compress(embedding(library="sentence_transformers") + b" " * 200_000)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    port = (planes.model if plane == "model" else planes.inference).base_url.port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    async with asyncio.timeout(30):
        while not planes.services.load.in_progress:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while planes.services.load.in_progress:
            await asyncio.sleep(0.01)
        held.set()
        await asyncio.wrap_future(planes.services.parsing.submit(int))  # behind the decompression
        while detach_module._unfinished:
            await asyncio.sleep(0.01)
    assert planes.services.bodies.held_bytes == 0


def form(parts: int, content: bytes, name: str = 'name="image"; filename="a"') -> bytes:
    part = b"--b0undary\r\nContent-Disposition: form-data; " + name.encode() + b"\r\n\r\n" + content + b"\r\n"
    return part * parts


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (form(100_000, b""), 413),
        (form(100_000, b"", 'name="labels"'), 413),
        (form(5, b"x" * 50_000), 400),
        (form(11, b""), 413),
        (b"--b0undary" * 100_000, 413),
    ],
)
async def test_parts_of_a_form_are_counted_before_they_are_built(tmp_path, body, status):
    headers = {"content-type": "multipart/form-data; boundary=b0undary"}
    async with running_planes(tmp_path, Settings(max_items=10)) as planes:
        await planes.load("clip", "open_clip")
        body += form(1, b"clip", 'name="name"') + b"--b0undary--"
        tracemalloc.start()
        try:
            answer = await planes.inference.post("/embed_image", content=body, headers=headers)
            assert tracemalloc.get_traced_memory()[1] < 6 * len(body) + 2_000_000
        finally:
            tracemalloc.stop()
        assert answer.status_code == status, answer.text


async def test_a_large_form_is_read(tmp_path):
    picture = encode(scene(300, 200), "BMP")
    async with running_planes(tmp_path) as planes:
        await planes.load("clip", "open_clip")
        files = [("image", (str(n), picture)) for n in range(3)]
        answer = await planes.inference.post("/embed_image", data={"name": "clip"}, files=files)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["embeddings"]) == 3


async def test_a_form_that_breaks_off_is_400(planes):
    headers = {"content-type": "multipart/form-data; boundary=b0undary"}
    answer = await planes.inference.post("/embed_image", content=form(1, b"x"), headers=headers)
    assert answer.status_code == 400
    assert "last boundary" in answer.text
