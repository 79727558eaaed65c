"""Receives a proved float32 graph, hands on the same graph with int8 matrix products.

ONNX Runtime's own dynamic quantization takes one scale for a whole batch of activations, so that a text's vector
depends on what it was batched with (cosine 0.99 on all-MiniLM-L6-v2). Here every token has a scale of its own, as in
ZeroQuant (Yao et al., 2022): a vector is the same whatever is beside it, and nearer to the source's.

Weights have a scale for each output column and take values from -64 to 64: on CPUs without VNNI, products of two
neighbouring bytes are summed in 16 bits, and 2 x 255 x 64 is the most that fits. So every CPU computes the same sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import UnsupportedModelError
from ingrain.export.onnx_file import save_onnx

_WEIGHT_LEVELS = 64
_TINY = np.float32(1e-12)  # a token of zeros must not divide by zero

Kept = Literal["none", "narrowing", "feed_forward"]


@dataclass(frozen=True, slots=True)
class Int8Plan:
    """One way to quantize.

    Attributes:
        offset: True to measure a token's values from its smallest one, which uses all 256 steps where they lie to one
            side of zero; False for 127 steps to each side, which is a tenth faster.
        kept: Which matrix products stay float32: none, those that make a vector narrower (the second of a feed-forward
            pair, whose inputs have the widest range), or both of each such pair.
    """

    offset: bool
    kept: Kept = "none"

    def __str__(self) -> str:
        steps = "with an offset" if self.offset else "symmetric"
        return steps if self.kept == "none" else f"{steps}, {self.kept} products in float32"


def write_int8(source: Path, target: Path, plan: Int8Plan) -> None:
    """Quantize the products of tokens with weights.

    Args:
        source: A float32 ONNX file; its external data is read too.
        target: File to write; weights above 500 MB go to ``<target>.data``.
        plan: How.

    Raises:
        UnsupportedModelError: The graph has no product that could be.
    """
    import onnx

    model = onnx.load(str(source))
    if not _Rewriter(model, plan).run():
        raise UnsupportedModelError("The graph has no product of tokens with a matrix of weights.", param="precision")
    save_onnx(model, target)


class _Rewriter:
    """Replaces nodes of one model, in place."""

    def __init__(self, model: Any, plan: Int8Plan) -> None:
        from onnx import helper

        self._model = model
        self._graph = model.graph
        self._plan = plan
        self._make = helper.make_node
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {output: node for node in model.graph.node for output in node.output}
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self._axes_are_inputs = opset >= 18
        self._nodes: list[Any] = []
        self._constants: set[str] = set()
        self._quantized: dict[str, tuple[str, str, str | None]] = {}

    def run(self) -> int:
        """Rewrite, and return how many products were replaced."""
        from onnx import helper

        chosen = {id(node) for node in self._products()}
        if self._plan.kept != "none":
            narrowing = [node for node in self._products() if self._shape(node)[0] > self._shape(node)[1]]
            chosen -= {id(node) for node in narrowing}
            if self._plan.kept == "feed_forward":
                chosen -= {id(wide) for node in narrowing for wide in self._products_before(node.input[0])}
        for node in self._graph.node:
            if id(node) in chosen:
                self._replace(node)
            else:
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._forget_unused()
        if all(entry.domain != "com.microsoft" for entry in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return len(chosen)

    def _products(self) -> Iterator[Any]:
        for node in self._graph.node:
            if node.op_type == "MatMul" and self._is_matrix(node.input[1]):
                yield node

    def _is_matrix(self, name: str) -> bool:
        tensor = self._weights.get(name)
        return tensor is not None and len(tensor.dims) == 2 and tensor.data_type == 1  # TensorProto.FLOAT

    def _shape(self, node: Any) -> tuple[int, int]:
        rows, columns = self._weights[node.input[1]].dims
        return rows, columns

    def _products_before(self, name: str) -> list[Any]:
        """Return the products with weights that a value is made from with no other product between."""
        found, seen, waiting = [], set(), [name]
        while waiting:
            node = self._producers.get(waiting.pop())
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            if node.op_type != "MatMul":
                waiting += node.input
            elif self._is_matrix(node.input[1]):
                found.append(node)
        return found

    def _replace(self, node: Any) -> None:
        """Compute ``scale * (bytes @ weights)``, plus ``least * column sums`` where bytes count from an offset."""
        from onnx import numpy_helper

        name, output = node.input[1], node.output[0]
        rows, scale, least = self._bytes_of(node.input[0])
        weights, column_scales = quantize_columns(numpy_helper.to_array(self._weights[name]))
        product = self._node(
            "MatMulIntegerToFloat",
            [
                rows,
                self._constant(f"{name}_int8", weights),
                self._constant("int8_one", np.float32(1)),
                self._constant(f"{name}_scales", column_scales),
                self._zero_point(),
            ],
            f"{output}_product",
            domain="com.microsoft",
        )
        if least is None:
            self._nodes.append(self._make("Mul", [product, scale], [output]))
            return
        sums = (weights.sum(axis=0, dtype=np.int64) * column_scales.astype(np.float64)).astype(np.float32)
        scaled = self._node("Mul", [product, scale], f"{output}_scaled")
        shift = self._node("Mul", [least, self._constant(f"{name}_sums", sums)], f"{output}_shift")
        self._nodes.append(self._make("Add", [scaled, shift], [output]))

    def _bytes_of(self, value: str) -> tuple[str, str, str | None]:
        """Quantize a value once: return its bytes, each token's scale and, with an offset, its smallest element."""
        if value in self._quantized:
            return self._quantized[value]
        least: str | None = None
        counted = value
        if self._plan.offset:
            least = self._reduce("ReduceMin", value, f"{value}_least")
            span = self._node("Sub", [self._reduce("ReduceMax", value, f"{value}_most"), least], f"{value}_range")
            counted = self._node("Sub", [value, least], f"{value}_above")
        else:
            span = self._reduce("ReduceMax", self._node("Abs", [value], f"{value}_abs"), f"{value}_range")
        steps = np.float32(255 if self._plan.offset else 127)
        span = self._node("Max", [span, self._constant("int8_tiny", _TINY)], f"{value}_span")
        inverse = self._node("Div", [self._constant("int8_steps", steps), span], f"{value}_inverse")
        scale = self._node("Div", [span, self._constant("int8_steps", steps)], f"{value}_scale")
        counted = self._node("Mul", [counted, inverse], f"{value}_steps")
        one = self._constant("int8_one", np.float32(1))
        rounded = self._node("QuantizeLinear", [counted, one, self._zero_point()], f"{value}_bytes")
        self._quantized[value] = (rounded, scale, least)
        return self._quantized[value]

    def _zero_point(self) -> str:
        return self._constant("int8_zero_point", np.uint8(0 if self._plan.offset else 128))

    def _reduce(self, kind: str, value: str, output: str) -> str:
        if self._axes_are_inputs:
            return self._node(kind, [value, self._constant("int8_last_axis", np.array([-1], np.int64))], output)
        return self._node(kind, [value], output, axes=[-1])

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(self._make(kind, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants.add(name)
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _forget_unused(self) -> None:
        """Drop the float32 matrices that nothing reads any more."""
        read = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def quantize_columns(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a matrix ``[K, N]`` as whole numbers from -64 to 64, and each column's scale, float32 ``[N]``."""
    scales = np.maximum(np.abs(matrix).max(axis=0), _TINY) / _WEIGHT_LEVELS
    return np.rint(matrix / scales).astype(np.int8), scales.astype(np.float32)
