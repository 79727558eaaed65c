"""What is taken for safetensors is what the format's own reader takes."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from custom_files import WEIGHTS, safetensors
from ingrain.errors import InvalidRequestError
from ingrain.sources.custom.safetensors_file import check_safetensors

HEADER_END = 8 + int.from_bytes(WEIGHTS[:8], "little")


def taken(path) -> bool:
    try:
        check_safetensors(path, "safetensorsUrl")
    except InvalidRequestError:
        return False
    return True


def taken_by_the_library(path) -> bool:
    try:
        with safe_open(path, framework="np") as file:
            return bool(file.keys())
    except SafetensorError:
        return False


def with_header(header: object, data: bytes = bytes(72)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape=(3,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
@given(st.integers(0, HEADER_END + 3), st.integers(0, 255))
@example(8, ord("["))
def test_a_changed_byte_is_judged_as_the_library_judges_it(tmp_path, position, value):
    """Whatever byte of the header is another, we take no file that the library would refuse."""
    path = tmp_path / "changed.safetensors"
    path.write_bytes(WEIGHTS[:position] + bytes([value]) + WEIGHTS[position + 1 :])
    if taken(path):
        assert taken_by_the_library(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(WEIGHTS) - 1))
def test_no_beginning_of_a_file_is_taken(tmp_path, length):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(WEIGHTS[:length])
    assert not taken(path)


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        safetensors({"one": (1,)}),
        safetensors({"scalar": ()}),
        safetensors({"empty": (0, 4), "full": (2, 2)}),
        safetensors({"empty": (0,)}),
        safetensors(pad_to=640),
        with_header({"half": entry(0, 72, (36,), "BF16")}),
    ],
)
def test_sound_files_are_taken(tmp_path, content):
    path = tmp_path / "sound.safetensors"
    path.write_bytes(content)
    assert taken_by_the_library(path)
    assert taken(path)


@pytest.mark.parametrize(
    "content",
    [
        with_header({"a": entry(0, 12), "b": entry(8, 72, (16,))}),
        with_header({"a": entry(0, 12), "b": entry(16, 72, (14,))}),
        with_header({"a": entry(0, 16)}, bytes(16)),
        with_header({"a": entry(12, 0)}, b""),
        with_header({"a": entry(-12, 0)}, b""),
        with_header({"a": entry(0, 12, dtype="PICKLE")}, bytes(12)),
        with_header({"a": {"dtype": "F32"}}, b""),
        with_header([1], b""),
        with_header(b"{" * 100_000, b""),
        with_header(b'{"a":' * 100_000, b""),
        with_header({"__metadata__": {"format": 1}, "a": entry(0, 12)}, bytes(12)),
        with_header(b'{"\xff": 1}', b""),
        (2**63).to_bytes(8, "little") + b"{}",
        (100_000_001).to_bytes(8, "little") + b"{}",
    ],
)
def test_damaged_and_hostile_headers_are_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert not taken(path)
