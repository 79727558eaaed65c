"""What the tests of faults of the machine run in the process that has torch."""

from pathlib import Path
from typing import Any

import numpy as np


def write_without_memory(path: Path) -> str:
    """Export a network that asks for a petabyte while it is traced, and return the error's class."""
    import torch

    class Large(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.empty(1 << 48).sum() + x

    return _write(Large(), 4, path, "torchscript")


def write_to_a_full_disk(exporter: str, path: Path) -> str:
    """Export a network to a device that is always full, and return the error's class."""
    import torch

    path.symlink_to("/dev/full")
    return _write(torch.nn.Linear(64, 64), 64, path, exporter)


def _write(network: Any, width: int, path: Path, exporter: Any = "dynamo") -> str:
    from ingrain.export.onnx.onnx_file import Recipe, write_onnx

    class Graph(type(network)):  # type: ignore[misc]  # an exporter hands all inputs on as one tuple
        def forward(self, *tensors: Any) -> Any:
            return super().forward(tensors[0])

    network.__class__ = Graph
    try:
        write_onnx(
            network,
            {"x": np.zeros((2, width), np.float32)},
            {"y": ("batch",)},
            path,
            Recipe(exporter, None),
            ("batch",),
        )
    except Exception as error:
        return type(error).__name__
    return "written"


def prove_without_memory(path: Path) -> str:
    """Run a graph in a proof that wants a petabyte, and return the error's class."""
    import onnx
    from onnx import TensorProto, helper
    from onnxruntime import InferenceSession

    from ingrain.export.proof import compare as verify

    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["shape"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("shape", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    try:
        verify._run(session, {"shape": np.array([1 << 48], np.int64)})
    except Exception as error:
        return type(error).__name__
    return "run"
