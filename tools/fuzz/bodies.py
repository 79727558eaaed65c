"""Fuzzes the inference plane with bodies and pictures that its document does not describe, and with raw bytes."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from fuzz.documents import Outcome
from fuzz.models import CLASSIFIER, CLIP, TEXT

# Statuses that a server may answer to what is no request of its version, with the class 5xx.
_NOT_UNDERSTOOD = {501, 505}
_LONGEST_S = 30
_ROUTES = ("embed_text", "embed_image", "embed", "classify_image", "classify_image_zero_shot", "v1/embeddings", "infer")
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")

_FIELDS = ("name", "model", "text", "image", "input", "labels", "templates", "normalize", "nDims", "n_dims", "prompt")
_MORE_FIELDS = ("promptName", "truncate", "dimensions", "encoding_format", "imageDownloadHeaders", "tokenCounts", "x")
_TEXTS = st.one_of(
    st.sampled_from(
        [TEXT, CLIP, CLASSIFIER, "", "w1 w2", "\ud7ff\U0010ffff\x00", "data:image/png;base64,", "http://[::1"]
    ),
    st.text(max_size=50),
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(_TEXTS, inner, max_size=5)),
    max_leaves=20,
)
_BODIES = st.dictionaries(st.sampled_from((*_FIELDS, *_MORE_FIELDS)), _VALUES, max_size=6)
_NAMED = st.builds(
    lambda body, name: {**body, "name": name, "model": name}, _BODIES, st.sampled_from([TEXT, CLIP, CLASSIFIER])
)


def _pictures() -> list[bytes]:
    made = []
    picture = Image.linear_gradient("L").resize((24, 16))
    for kind in _FORMATS:
        file = io.BytesIO()
        picture.convert("RGB").save(file, kind)
        made.append(file.getvalue())
    return made


def _changed(data: bytes, places: list[tuple[int, int]], keep: float) -> bytes:
    changed = bytearray(data)
    for place, value in places:
        changed[place % len(changed)] = value
    return bytes(changed[: max(1, int(keep * len(changed)))])


_SOME_PLACES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8)
_SHARES = st.one_of(st.just(1.0), st.floats(0, 1))
_DAMAGED = st.builds(_changed, st.sampled_from(_pictures()), _SOME_PLACES, _SHARES)
_REQUEST = (
    b"POST /embed_text HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 36\r\n"
    b'Connection: close\r\n\r\n{"name": "fuzz-text", "text": "w1"}\n'
)
_FRAGMENTS = (b"GET ", b"/", b" HTTP/1.1\r\n", b"\r\n", b"Host: a\r\n", b"Transfer-Encoding: chunked\r\n", b"0")
_RAW = st.one_of(
    st.builds(_changed, st.just(_REQUEST), _SOME_PLACES, _SHARES),
    st.binary(max_size=200),
    st.lists(
        st.sampled_from([b"GET ", b"/", b" HTTP/1.1\r\n", b"\r\n", b"Host: a\r\n", b"Transfer-Encoding: chunked\r\n"])
    ).map(b"".join),
)


def fuzz_bodies(url: str, cases: int, number: int) -> list[Outcome]:
    """Send bodies, pictures and raw bytes to the inference plane, a third of the cases each."""
    with httpx.Client(base_url=url, timeout=_LONGEST_S) as client:

        def body(route: str, given_body: dict[str, object]) -> None:
            content = json.dumps(given_body).encode("utf-8", "surrogatepass")
            _judge(client.post(f"/{route}", content=content, headers={"content-type": "application/json"}))

        def picture(route: str, data: bytes) -> None:
            name = CLASSIFIER if route == "classify_image" else CLIP
            _judge(client.post(f"/{route}", json={"name": name, "image": base64.b64encode(data).decode()}))

        routes, pictured = st.sampled_from(_ROUTES), st.sampled_from(["embed_image", "classify_image"])
        each = max(1, cases // 3)
        return [
            run_cases(body, st.tuples(routes, st.one_of(_NAMED, _BODIES)), each, number),
            run_cases(picture, st.tuples(pictured, _DAMAGED), each, number),
            run_cases(lambda data: _send_raw(url, data), st.tuples(_RAW), each, number),
        ]


def run_cases(
    send: Callable[..., None], cases: st.SearchStrategy[tuple[object, ...]], count: int, number: int
) -> Outcome:
    """Call a function with many cases; the first exception is the finding, with the smallest case that raises it."""
    sent = 0

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def run(case: tuple[object, ...]) -> None:
        nonlocal sent
        sent += 1
        send(*case)

    try:
        run()
    except Exception as error:  # any: it is the finding
        return Outcome(sent, f"{type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", [])))
    return Outcome(sent)


def _judge(answer: httpx.Response) -> None:
    """Raise unless an answer is JSON and, if it is an error, the fault of the request."""
    assert answer.status_code < 500, f"{answer.status_code}: {answer.text[:500]}"
    answer.json()


def _send_raw(url: str, data: bytes) -> None:
    """Send bytes and the end of the stream; raise if the server answers with its own fault, or not at all."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=_LONGEST_S) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while block := connection.recv(65_536):
                answer += block
        except (ConnectionError, BrokenPipeError):
            return  # the server has closed the connection
    if answer:
        start = answer.split(b" ", 2)
        assert answer.startswith(b"HTTP/1.1 "), answer[:200]
        status = int(start[1])
        assert status < 500 or status in _NOT_UNDERSTOOD, answer[:500]
