"""Tiny ONNX graphs whose results are known, for tests; needs the ``onnx`` package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ingrain.repository.manifest import Graph, Tensor
from ingrain.vocabulary import DType, Role

_ONNX_TYPES: dict[str, DType] = {
    "tensor(float)": "FP32",
    "tensor(float16)": "FP16",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
    "tensor(uint8)": "UINT8",
}
_OPSET = 17
_IR_VERSION = 8
VOCABULARY = 64
WIDTH = 8


def embedding_table(seed: int = 0) -> NDArray[np.float32]:
    """Return the table of the text graphs, float32 ``[VOCABULARY, WIDTH]``."""
    return np.random.default_rng(seed).standard_normal((VOCABULARY, WIDTH)).astype(np.float32)


def expected_embedding(
    input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], seed: int = 0
) -> NDArray[np.float32]:
    """Return what the text graphs answer: the mean of the table's rows under the mask, float32 ``[B, WIDTH]``."""
    mask = attention_mask[:, :, None].astype(np.float32)
    total: NDArray[np.float32] = (embedding_table(seed)[input_ids] * mask).sum(1)
    mean: NDArray[np.float32] = total / np.maximum(mask.sum(1), np.float32(1))
    return mean


def write_text_graph(
    path: Path, *, seed: int = 0, iterations: int = 0, products: bool = False, most_items: int | None = None
) -> None:
    """Write a graph ``input_ids, attention_mask`` (int64 ``[B, T]``) to ``sentence_embedding`` (float32 ``[B, D]``).

    Args:
        path: The file to write; its folder is made.
        seed: Seed of the table.
        iterations: Multiplications of 256×256 matrices that do nothing but take time, about 0.3 ms each.
        products: Whether the tokens pass through a feed-forward pair of products with weights, which can be quantized.
        most_items: A batch of more items needs 256 TiB, which no process can have; None for no such limit.
    """
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded" if products else "tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["flat_mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["flat_mask", "last_axis"], ["mask"]),
        helper.make_node("Mul", ["tokens", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "token_axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "token_axis"], ["count"], keepdims=0),
        helper.make_node("Max", ["count", "one"], ["divisor"]),
        helper.make_node(
            "Div", ["total", "divisor"], ["mean" if iterations or most_items is not None else "sentence_embedding"]
        ),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "table": embedding_table(seed),
        "last_axis": np.array([-1], np.int64),
        "token_axis": np.array([1], np.int64),
        "one": np.array(1, np.float32),
    }
    if products:
        nodes[1:1] = _feed_forward()
        constants |= _feed_forward_constants(seed)
    if most_items is not None:
        nodes += _greed()
        constants |= {"most_items": np.array(most_items, np.int64), "huge": np.array([2**46], np.int64)}
        constants |= {"first": np.array(0, np.int64), "one_more": np.array([1], np.int64)}
    if iterations:
        nodes += _delay()
        constants |= _delay_constants(iterations)
    inputs = [_value(name, TensorProto.INT64, "batch", "tokens") for name in ("input_ids", "attention_mask")]
    _save(path, nodes, constants, inputs, _value("sentence_embedding", TensorProto.FLOAT, "batch", WIDTH))


def write_image_graph(path: Path, *, size: int = 4) -> None:
    """Write a graph ``pixel_values`` (uint8 ``[B, size, size, 3]``) to their mean, ``embedding`` (FP32 ``[B, 3]``)."""
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["embedding"], axes=[1, 2], keepdims=0),
    ]
    inputs = [_value("pixel_values", TensorProto.UINT8, "batch", size, size, 3)]
    _save(path, nodes, {}, inputs, _value("embedding", TensorProto.FLOAT, "batch", 3))


def describe_graph(name: str, path: Path, role: Role = "text_encoder") -> Graph:
    """Return the manifest's entry of an ONNX file, tensors as ONNX Runtime reports them, without checksums."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return Graph(
        name=name,
        role=role,
        inputs=tuple(_tensor(value) for value in session.get_inputs()),
        outputs=tuple(_tensor(value) for value in session.get_outputs()),
        files=(),
    )


def _tensor(value: onnxruntime.NodeArg) -> Tensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return Tensor(name=value.name, dtype=_ONNX_TYPES[value.type], shape=shape)


def _feed_forward() -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", ["embedded", "wide"], ["up"]),
        helper.make_node("Relu", ["up"], ["active"]),
        helper.make_node("MatMul", ["active", "narrow"], ["tokens"]),
    ]


def _feed_forward_constants(seed: int) -> dict[str, NDArray[np.generic]]:
    numbers = np.random.default_rng(seed)
    return {
        "wide": numbers.normal(size=(WIDTH, 32 * WIDTH)).astype(np.float32),
        "narrow": (numbers.normal(size=(32 * WIDTH, WIDTH)) / 16).astype(np.float32),
    }


def _delay() -> list[onnx.NodeProto]:
    """Return nodes that add to ``mean`` zero times a number that takes long to compute."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["keep_going"], ["keep_going_out"]),
            helper.make_node("MatMul", ["state", "rotation"], ["state_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("keep_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [256, 256]),
        ],
        [
            helper.make_tensor_value_info("keep_going_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [256, 256]),
        ],
    )
    return [
        # The beginning depends on the input, or else the loop would be computed once, at load.
        helper.make_node("ReduceSum", ["mean"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["rotation", "nothing"], ["begin"]),
        helper.make_node("Loop", ["iterations", "always", "begin"], ["end"], body=body),
        helper.make_node("ReduceSum", ["end"], ["end_sum"], keepdims=0),
        helper.make_node("Mul", ["end_sum", "zero"], ["still_nothing"]),
        helper.make_node("Add", ["mean", "still_nothing"], ["sentence_embedding"]),
    ]


def _greed() -> list[onnx.NodeProto]:
    """Return nodes that add to ``mean`` a zero from a tensor of 2⁴⁶ floats if the batch is too large, else of one."""
    return [
        helper.make_node("Shape", ["mean"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["items"], axis=0),
        helper.make_node("Greater", ["items", "most_items"], ["is_large"]),
        helper.make_node("Cast", ["is_large"], ["as_number"], to=TensorProto.INT64),
        helper.make_node("Mul", ["huge", "as_number"], ["more"]),
        helper.make_node("Add", ["more", "one_more"], ["length"]),
        helper.make_node("ConstantOfShape", ["length"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["nil"], keepdims=0),
        helper.make_node("Add", ["mean", "nil"], ["sentence_embedding"]),
    ]


def _delay_constants(iterations: int) -> dict[str, NDArray[np.generic]]:
    return {
        "zero": np.array(0, np.float32),
        "iterations": np.array(iterations, np.int64),
        "always": np.array(True),
        "rotation": np.roll(np.eye(256, dtype=np.float32), 1, axis=0),
    }


def _value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    inputs: list[onnx.ValueInfoProto],
    output: onnx.ValueInfoProto,
) -> None:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
