"""Encodes inference requests and decodes responses of Triton's gRPC protocol (KServe v2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from ingrain.engine.protocol import DURATIONS, Array, Arrays, BatchStatistics, Duration, GraphStatistics

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "INT8": np.dtype(np.int8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# Field 7 of ModelInferRequest, raw_input_contents, as a length-delimited field.
_RAW_INPUT_TAG = b"\x3a"
# Field 3 of the same, id.
_ID_TAG = b"\x1a"


def encode_infer(
    name: str, inputs: Arrays, *, request_id: str = "", alone: bool = False, outputs: Sequence[str] = ()
) -> bytes:
    """Return a serialized ``ModelInferRequest``.

    Everything except the array contents is the same for all batches of one shape, and is cached. The contents are
    appended to it, as protobuf encodes a repeated field, so that they are copied only once.

    Args:
        name: The graph's name.
        inputs: Arrays by input name.
        request_id: ASCII text that the response must have too, of at most 127 characters.
        alone: Whether to tell the graph that no other batch is in the engine.
        outputs: Names of the outputs that the response shall have; none for all.

    Raises:
        ValueError: Triton does not support an array's dtype.
    """
    tensors = tuple((key, array.dtype, array.shape) for key, array in inputs.items())
    parts: list[bytes | memoryview] = [_header(name, tensors, alone, tuple(outputs))]
    if request_id:
        parts += [_ID_TAG, _varint(len(request_id)), request_id.encode("ascii")]
    for array in inputs.values():
        content = np.ascontiguousarray(array)
        parts += [_RAW_INPUT_TAG, _varint(content.nbytes), content.reshape(-1).view(np.uint8).data]
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _header(
    name: str,
    tensors: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...],
    alone: bool,
    outputs: tuple[str, ...],
) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=name)
    if alone:
        # Our Python model reads this parameter; Triton's own backends ignore it.
        request.parameters["alone"].bool_param = True
    for key, dtype, shape in tensors:
        if dtype not in _NAMES:
            raise ValueError(f"input {key!r} has dtype {dtype}, which Triton does not know")
        request.inputs.add(name=key, datatype=_NAMES[dtype], shape=shape)
    for output in outputs:
        request.outputs.add(name=output)
    header: bytes = request.SerializeToString()
    return header


def _varint(value: int) -> bytes:
    """Encode a number as a protobuf varint."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def decode_infer(response: service_pb2.ModelInferResponse, request_id: str = "") -> dict[str, Array]:
    """Return read-only views of a response's arrays by output name.

    Raises:
        ValueError: The response is that of another request, an output is not raw, its size does not match its shape,
            or its dtype is unknown.
    """
    if response.id != request_id:
        raise ValueError("the response belongs to another request")
    if len(response.outputs) != len(response.raw_output_contents):
        raise ValueError("the response has outputs without raw contents")
    arrays: dict[str, Array] = {}
    for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
        dtype = _DTYPES.get(output.datatype)
        if dtype is None:
            raise ValueError(f"output {output.name!r} has dtype {output.datatype!r}")
        arrays[output.name] = np.frombuffer(content, dtype).reshape(tuple(output.shape))
    return arrays


def decode_statistics(response: service_pb2.ModelStatisticsResponse) -> list[GraphStatistics]:
    """Convert Triton's statistics."""
    return [_graph_statistics(model) for model in response.model_stats]


def _graph_statistics(model: service_pb2.ModelStatistics) -> GraphStatistics:
    return GraphStatistics(
        name=model.name,
        version=model.version,
        last_inference_ms=model.last_inference,
        inference_count=model.inference_count,
        execution_count=model.execution_count,
        durations={key: _duration(getattr(model.inference_stats, key)) for key in DURATIONS},
        batches=tuple(
            BatchStatistics(
                batch_size=batch.batch_size,
                compute_input=_duration(batch.compute_input),
                compute_infer=_duration(batch.compute_infer),
                compute_output=_duration(batch.compute_output),
            )
            for batch in sorted(model.batch_stats, key=lambda batch: batch.batch_size)
        ),
    )


def _duration(value: service_pb2.StatisticDuration) -> Duration:
    return Duration(count=value.count, ns=value.ns)
