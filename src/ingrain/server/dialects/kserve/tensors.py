"""Tensors of requests and responses, for both transports."""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from ingrain.errors import InvalidRequestError, TooLargeError
from ingrain.postprocess.quantize import AnyVectors

_LENGTH = struct.Struct("<I")
# By type, because numpy takes long to say the name of one.
_DATATYPES = {
    np.dtype(np.float32): "FP32",
    np.dtype(np.int8): "INT8",
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
}

Items = Sequence[str | bytes]
"""The elements of an input: texts, or images as texts or as the bytes of files."""


class Wanted(msgspec.Struct, frozen=True):
    """An output that a request asks for.

    Attributes:
        name: Its name.
        classes: Number of labels to return instead of probabilities; 0 for the probabilities.
    """

    name: str
    classes: int = 0


class Tensor(msgspec.Struct, frozen=True, eq=False):
    """An output.

    Attributes:
        name: Its name.
        values: Numbers, or byte strings row by row, which then have a ``shape`` of their own.
        texts_shape: Shape of byte strings; None for numbers.
    """

    name: str
    values: AnyVectors | list[bytes]
    texts_shape: tuple[int, ...] | None = None

    @property
    def datatype(self) -> str:
        """The protocol's name of the element type."""
        return "BYTES" if isinstance(self.values, list) else _DATATYPES[self.values.dtype]

    @property
    def shape(self) -> list[int]:
        """The shape."""
        return list(self.texts_shape or ()) if isinstance(self.values, list) else list(self.values.shape)

    def data(self) -> object:
        """Return the elements as JSON has them, row by row."""
        if isinstance(self.values, list):
            return [value.decode() for value in self.values]
        return np.ascontiguousarray(self.values).ravel()

    def raw(self) -> bytes:
        """Return the elements as binary data: little-endian numbers, or byte strings with their lengths."""
        if isinstance(self.values, list):
            return b"".join(_LENGTH.pack(len(value)) + value for value in self.values)
        return self.values.astype(self.values.dtype.newbyteorder("<"), copy=False).tobytes()


def wanted_output(name: str, parameters: Mapping[str, Any]) -> Wanted:
    """Return an output that a request asks for.

    Raises:
        InvalidRequestError: It has a parameter that this server does not have.
    """
    classes = 0
    for parameter, value in parameters.items():
        if parameter == "classification":
            if type(value) is not int or value < 1:
                raise InvalidRequestError("classification must be a number of labels, from 1.", param=parameter)
            classes = value
        elif parameter != "binary_data":
            raise InvalidRequestError(
                f"Output {name[:100]!r} has the unknown parameter {parameter[:100]!r}; those of outputs are "
                "binary_data and classification.",
                param=parameter[:100],
            )
    return Wanted(name, classes)


def check_new(name: str, parameters: Mapping[str, Any], before: Container[str]) -> None:
    """Check the name and the parameters of an input.

    Args:
        name: Its name.
        parameters: Its parameters, which may not change what its elements mean.
        before: Names of the inputs before it.

    Raises:
        InvalidRequestError: There is another input of that name, its elements are in shared memory, or it has a
            parameter that is unknown.
    """
    if name in before:
        raise InvalidRequestError(f"Input {name[:100]!r} is given twice.", param=name[:100])
    for parameter, value in parameters.items():
        if parameter.startswith("shared_memory"):
            raise InvalidRequestError("This server takes no tensors in shared memory.", param="shared_memory_region")
        if parameter == "content_type" and value == "base64" and name != "image":
            raise InvalidRequestError(
                f"Input {name[:100]!r} has the content_type 'base64'; texts are sent as they are, in UTF-8.",
                param=name[:100],
            )
        if parameter not in ("binary_data_size", "content_type"):
            raise InvalidRequestError(
                f"Input {name[:100]!r} has the unknown parameter {parameter[:100]!r}; options are parameters of the "
                "request, beside its inputs.",
                param=parameter[:100],
            )


def check_input(name: str, datatype: str, shape: Sequence[int], count: int) -> None:
    """Check the description of an input against the number of its elements.

    Raises:
        InvalidRequestError: The type is not ``BYTES``, or the shape is neither ``[N]`` nor ``[N, 1]``, or does not
            match the elements.
    """
    if datatype != "BYTES":
        raise InvalidRequestError(
            f"Input {name[:100]!r} has datatype {datatype[:20]!r}; it must be BYTES.", param=name[:100]
        )
    if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise InvalidRequestError(
            f"Input {name[:100]!r} has shape {list(shape)[:8]}; it must be [N] or [N, 1].", param=name[:100]
        )
    if shape[0] != count:
        raise InvalidRequestError(
            f"Input {name[:100]!r} has shape {list(shape)}, but {count} elements.", param=name[:100]
        )
    if count == 0:
        raise InvalidRequestError(f"Input {name[:100]!r} is empty.", param=name[:100])


def split_bytes(name: str, raw: bytes | memoryview, most: int) -> list[bytes]:
    """Return the byte strings of a ``BYTES`` tensor: each has its length before it, 4 bytes, little-endian.

    Args:
        name: Name of the tensor, for errors.
        raw: The tensor's binary data.
        most: Largest number of byte strings.

    Raises:
        InvalidRequestError: A length does not match the data.
        TooLargeError: There are too many byte strings.
    """
    items: list[bytes] = []
    at, end, view = 0, len(raw), memoryview(raw)
    while at < end:
        start = at + 4
        length = _LENGTH.unpack_from(view, at)[0] if start <= end else end
        at = start + length
        if at > end:
            raise InvalidRequestError(
                f"The binary data of input {name[:100]!r} end within element {len(items)}: each element needs its "
                "length in 4 bytes before it.",
                param=name[:100],
            )
        if len(items) >= most:
            raise TooLargeError(
                f"Input {name[:100]!r} has more than {most} elements (INGRAIN_MAX_ITEMS).",
                param=name[:100],
                facts={"limit": most},
            )
        items.append(bytes(view[start:at]))
    return items


def texts_of(name: str, items: Items) -> list[str]:
    """Return elements as texts.

    Raises:
        InvalidRequestError: One of them is not UTF-8.
    """
    texts: list[str] = []
    for place, item in enumerate(items):
        try:
            texts.append(item if isinstance(item, str) else item.decode())
        except UnicodeDecodeError as error:
            raise InvalidRequestError(f"{name}[{place}] is not UTF-8.", param=f"{name}[{place}]") from error
    return texts
