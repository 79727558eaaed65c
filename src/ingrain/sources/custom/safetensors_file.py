"""Checks that a file is valid safetensors from its header, without reading the tensors.

The format (huggingface.co/docs/safetensors): eight bytes with the header's length, little-endian; the header, JSON with
each tensor's type, shape and offsets; then the tensors' bytes, one after the other without gaps or overlaps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.errors import InvalidRequestError

# Limit of the safetensors library.
_LONGEST_HEADER_BYTES = 100_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x8a\x0a")
_PICKLE = "a pickle, which can run code when it is loaded; convert it to safetensors"
_METADATA = "__metadata__"

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: Annotated[list[Count], Meta(max_length=64)]
    data_offsets: tuple[Count, Count]


def check_safetensors(path: Path, param: str) -> None:
    """Check that a file is a complete safetensors file.

    Args:
        path: The file.
        param: The field with the file's URL.

    Raises:
        InvalidRequestError: The file is a pickle, truncated, or something else.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        # Only a hint: safetensors with a header of 640 bytes start like a pickle.
        pickled = start.startswith(_PICKLES)
        if len(start) < 8 or not 2 <= length <= _LONGEST_HEADER_BYTES:
            raise _refused(param, _PICKLE if pickled else "no safetensors file: it has no header")
        header = file.read(length)
    if not header.startswith(b"{"):
        raise _refused(param, _PICKLE if pickled else "no safetensors file: its header is no JSON object")
    if len(header) < length:
        raise _refused(param, "no whole safetensors file: its header is cut short")
    _check_places(_tensors(header, param), size - 8 - length, param)


def _tensors(header: bytes, param: str) -> dict[str, _Tensor]:
    try:
        members = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        if _METADATA in members:
            msgspec.json.decode(members.pop(_METADATA), type=dict[str, str])
        tensors = {name: msgspec.json.decode(member, type=_Tensor) for name, member in members.items()}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _refused(param, "no safetensors file: its header cannot be read") from error
    if not tensors:
        raise _refused(param, "a safetensors file without a single tensor")
    return tensors


def _check_places(tensors: dict[str, _Tensor], data_bytes: int, param: str) -> None:
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        bits = _BITS.get(tensor.dtype)
        if bits is None:
            raise _refused(param, f"a safetensors file of the unknown type {tensor.dtype[:20]!r}")
        start, stop = tensor.data_offsets
        if start != end or 8 * (stop - start) != bits * math.prod(tensor.shape):
            raise _refused(param, f"a damaged safetensors file: tensor {name[:100]!r} is not where it should be")
        end = stop
    if end > data_bytes:
        raise _refused(param, f"no whole safetensors file: {end - data_bytes} of its bytes are missing")
    if end < data_bytes:
        raise _refused(param, f"a damaged safetensors file: {data_bytes - end} bytes follow its last tensor")


def _refused(param: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"The file at {param} is {what}.", param=param)
