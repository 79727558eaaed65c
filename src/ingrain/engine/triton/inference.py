"""Runs one batch on Triton, and again if a network may have changed its bytes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from ingrain.engine.memory import is_memory_failure
from ingrain.engine.protocol import Array, Arrays
from ingrain.engine.triton.connection import CallError, TritonConnection
from ingrain.engine.triton.wire import decode_infer, encode_infer

_numbers = itertools.count(1)
_MOST_RUNS = 4
_NOT_GARBLED = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.NOT_FOUND}


async def run_batch(
    connection: TritonConnection,
    name: str,
    inputs: Arrays,
    timeout_s: float | None,
    *,
    alone: bool,
    outputs: Sequence[str] | None = None,
) -> dict[str, Array]:
    """Run a batch; once more if it failed and the network may be the cause.

    A fault of the graph or of Triton fails in the same words again, changed bytes do not: while the words differ, the
    batch is run again, at most three times.

    An answer that cannot be decoded or belongs to another batch is never returned. Changed numbers within an answer
    cannot be told from right ones; only TLS between the hosts protects from these.

    Args:
        connection: Connection to Triton.
        name: The graph's name.
        inputs: Arrays by input name.
        timeout_s: Seconds to wait; None for no limit.
        alone: Whether no other batch is in the engine.
        outputs: Names of the outputs that are needed; None for all.

    Returns:
        Read-only arrays by output name.

    Raises:
        ValueError: Triton does not support the dtype of an input.
        CallError: The call failed.
    """
    request_id = str(next(_numbers))
    request = encode_infer(name, inputs, request_id=request_id, alone=alone, outputs=outputs or ())
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    failure: CallError | None = None
    for _ in range(_MOST_RUNS):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return await _run(connection, request, request_id, left)
        except CallError as error:
            if connection.is_local or error.code in _NOT_GARBLED or is_memory_failure(error.details):
                raise
            if failure is not None and (failure.code, failure.details) == (error.code, error.details):
                raise
            failure = error
    assert failure is not None
    raise failure


async def _run(
    connection: TritonConnection, request: bytes, request_id: str, timeout_s: float | None
) -> dict[str, Array]:
    answer = await connection.infer(request, timeout_s)
    try:
        return decode_infer(service_pb2.ModelInferResponse.FromString(answer), request_id)
    except (ValueError, DecodeError) as error:
        connection.distrust()
        raise CallError(StatusCode.DATA_LOSS, f"the answer cannot be decoded: {error}") from error
