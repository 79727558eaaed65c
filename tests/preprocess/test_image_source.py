"""What an image string may be: base64 in its spellings, data URIs, and nothing else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.errors import FetchRefusedError, ImageError, TooLargeError
from ingrain.preprocess.image_source import is_url, read_embedded

DATA = bytes(range(256))
STANDARD = base64.b64encode(DATA).decode()


def read(text: str, max_bytes: int = 10_000) -> bytes:
    return read_embedded(text, max_bytes=max_bytes, param="image[3]")


@pytest.mark.parametrize(
    "text",
    [
        STANDARD,
        STANDARD.rstrip("="),
        base64.urlsafe_b64encode(DATA).decode(),
        base64.urlsafe_b64encode(DATA).decode().rstrip("="),
        base64.encodebytes(DATA).decode(),
        base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
        f"  {STANDARD}\n",
        f"data:image/png;base64,{STANDARD}",
        f"DATA:image/png;BASE64,{STANDARD}",
        f"data:;base64,{STANDARD}",
        f"\n  data:image/png;base64,{STANDARD}\r\n",
        f"data:image/jpeg;name=a.jpg;base64,{STANDARD}",
        "data:image/png;base64," + STANDARD.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "data:image/png," + "".join(f"%{byte:02X}" for byte in DATA),
    ],
)
def test_every_spelling_is_read(text: str) -> None:
    assert read(text) == DATA


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "a",
        "aaaaa",
        "aGk=aGk=",
        "a=Gk",
        "hello world!",
        "é",
        "aG\x00k=",
        "data:image/png;base64,!",
        "data:image/png",
        "\ud800",
    ],
)
def test_what_is_not_base64_is_an_image_error(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        read(text)
    assert caught.value.param == "image[3]"


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "gopher://a/",
        "ftp://a/b.png",
        "  ftp://a/b.png",
        "s3://bucket/a.png",
        "blob:abc",
        "C:\\a.png",
    ],
)
def test_urls_of_other_schemes_are_refused(text: str) -> None:
    with pytest.raises(FetchRefusedError):
        read(text)


@pytest.mark.parametrize("text", ["http://a/", "https://a/", "HTTP://a/", "HttpS:x", "  http://a/", "\n\thttps://a/ "])
def test_http_urls_are_told_apart(text: str) -> None:
    assert is_url(text)


@pytest.mark.parametrize("text", ["httpaGk=", "data:,", STANDARD, "ftp://a/", ""])
def test_anything_else_is_no_url(text: str) -> None:
    assert not is_url(text)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:image/png,"])
def test_the_size_is_checked_before_anything_is_unpacked(prefix: str) -> None:
    """What is not base64 at all is refused for its length, so it was not looked at."""
    with pytest.raises(TooLargeError) as caught:
        read(prefix + "!" * 1_000_000)
    assert caught.value.facts == {"limit": 10_000}


@given(st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes) -> None:
    assert read(base64.b64encode(data).decode()) == data
    assert read(base64.urlsafe_b64encode(data).decode().rstrip("=")) == data
