"""Asks the Python stub of a graph for its statistics.

Triton only sees when it hands a batch to a stub that runs several batches at the same time, not how long the batch then
waits and runs (``python_backend/runs.py``).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import triton_to_np_dtype

from ingrain.engine.protocol import Array, BatchStatistics, Duration, GraphStatistics


def statistics_request(config: model_config_pb2.ModelConfig) -> service_pb2.ModelInferRequest | None:
    """Return the request that asks a graph's stub; None if Triton counts the graph's batches.

    Triton checks the inputs of every request, so the request has one item of zeros.
    """
    is_on_cpu = all(group.kind == group.KIND_CPU for group in config.instance_group)
    if not is_on_cpu or "concurrent_runs" not in config.parameters:
        return None
    request = service_pb2.ModelInferRequest(model_name=config.name)
    request.parameters["statistics"].bool_param = True
    for tensor in config.input:
        datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
        shape = [1, *(1 if size == -1 else size for size in tensor.dims)]
        request.inputs.add(name=tensor.name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(np.zeros(shape, triton_to_np_dtype(datatype)).tobytes())
    return request


def decode_stub_statistics(name: str, version: str, content: Array) -> GraphStatistics:
    """Convert a stub's answer, the JSON of ``Counts`` as uint8, to the statistics of a graph."""
    counts: dict[str, Any] = json.loads(content.tobytes())
    success, fail, queue, compute = (
        Duration(count=count, ns=ns) for count, ns in (counts[key] for key in ("success", "fail", "queue", "compute"))
    )
    untimed = Duration(count=success.count)
    return GraphStatistics(
        name=name,
        version=version,
        last_inference_ms=counts["last_ms"],
        inference_count=counts["items"],
        execution_count=sum(count for _, count, _ in counts["batches"]),
        durations={
            "success": success,
            "fail": fail,
            "queue": queue,
            "compute_input": untimed,
            "compute_infer": compute,
            "compute_output": untimed,
        },
        batches=tuple(
            BatchStatistics(
                batch_size=size,
                compute_input=Duration(count=count),
                compute_infer=Duration(count=count, ns=ns),
                compute_output=Duration(count=count),
            )
            for size, count, ns in counts["batches"]
        ),
    )
