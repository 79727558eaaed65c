"""Receives a proved float32 graph, hands on the same graph with int8 matrix products.

ONNX Runtime's own dynamic quantization takes one scale for a whole batch of activations, so that a text's vector
depends on what it was batched with (cosine 0.99 on all-MiniLM-L6-v2). Here a vector is the same whatever is beside it,
and nearer to the source's: either every token has a scale of its own, as in ZeroQuant (Yao et al., 2022), or a value
has one scale for all texts, taken from a sample, with its columns brought near to each other before (``equalize.py``).
The latter costs next to nothing; for what comes out of an activation, too wide for it, tokens keep their own.

Weights have a scale for each output column and take values from -64 to 64: on CPUs without VNNI, products of two
neighbouring bytes are summed in 16 bits, and 2 x 255 x 64 is the most that fits. So every CPU computes the same sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import UnsupportedModelError
from ingrain.export.equalize import Range
from ingrain.export.onnx_file import save_onnx

_WEIGHT_LEVELS = 64
_TINY = np.float32(1e-12)  # a token of zeros must not divide by zero
_SYMMETRIC_ZERO, _ONE_SIDED_ZERO = 128, 32  # the byte that stands for zero
_ONE_SIDED = 8  # by how much a value reaches farther above zero than below to be called so; GELU's is 10 to 100

Kept = Literal["none", "narrowing", "feed_forward"]


@dataclass(frozen=True, slots=True)
class Int8Plan:
    """One way to quantize.

    Attributes:
        offset: True to measure a token's values from its smallest one, which uses all 256 steps where they lie to one
            side of zero; False for 127 steps to each side, or for more above zero where hardly any are needed below,
            which is a tenth faster.
        kept: Which matrix products stay float32: none, those that make a vector narrower (the second of a feed-forward
            pair, whose inputs have the widest range), or both of each such pair.
        fixed: True for one scale for all texts, taken from a sample; what narrowing products take keeps one a token.
    """

    offset: bool
    kept: Kept = "none"
    fixed: bool = False

    def __str__(self) -> str:
        if self.fixed:
            return "with fixed scales"
        steps = "with an offset" if self.offset else "symmetric"
        return steps if self.kept == "none" else f"{steps}, {self.kept} products in float32"


def write_int8(source: Path, target: Path, plan: Int8Plan, ranges: Mapping[str, Range] | None = None) -> None:
    """Quantize the products of tokens with weights.

    Args:
        source: A float32 ONNX file; its external data is read too.
        target: File to write; weights above 500 MB go to ``<target>.data``.
        plan: How.
        ranges: Of each value that is multiplied with weights, where the plan has fixed scales.

    Raises:
        UnsupportedModelError: The graph has no product that could be.
    """
    import onnx

    model = onnx.load(str(source))
    if not _Rewriter(model, plan, ranges or {}).run():
        raise UnsupportedModelError("The graph has no product of tokens with a matrix of weights.", param="precision")
    save_onnx(model, target)


def products_with_weights(graph: Any) -> list[Any]:
    """Return the nodes of an ``onnx.GraphProto`` that multiply a value with a float32 matrix of weights."""
    matrices = {
        tensor.name
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == 1  # TensorProto.FLOAT
    }
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in matrices]


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A value in whole numbers, by names: the bytes, and the byte for zero.

    Attributes:
        scale: Each token's scale, or the one of them all.
        least: Each token's smallest element, where bytes count from it.
        factors: What the rows of weights are multiplied with.
    """

    rows: str
    zero: str
    scale: str
    least: str | None = None
    factors: NDArray[np.float32] | None = None


class _Rewriter:
    """Replaces nodes of one model, in place."""

    def __init__(self, model: Any, plan: Int8Plan, ranges: Mapping[str, Range]) -> None:
        from onnx import helper

        self._model = model
        self._graph = model.graph
        self._plan = plan
        self._ranges = ranges
        self._products = products_with_weights(model.graph)
        self._make = helper.make_node
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {output: node for node in model.graph.node for output in node.output}
        self._readers: dict[str, list[Any]] = {output.name: [None] for output in model.graph.output}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self._axes_are_inputs = opset >= 18
        self._nodes: list[Any] = []
        self._constants: set[str] = set()
        self._taken_in: set[int] = set()
        self._quantized: dict[tuple[str, bool], _Bytes] = {}

    def run(self) -> int:
        """Rewrite, and return how many products were replaced."""
        from onnx import helper

        chosen = {id(node) for node in self._products}
        if self._plan.kept != "none":
            narrowing = [node for node in self._products if self._is_narrowing(node)]
            chosen -= {id(node) for node in narrowing}
            if self._plan.kept == "feed_forward":
                chosen -= {id(wide) for node in narrowing for wide in self._products_before(node.input[0])}
        for node in self._graph.node:
            if id(node) in chosen:
                self._replace(node)
            elif id(node) not in self._taken_in:
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._forget_unused()
        if all(entry.domain != "com.microsoft" for entry in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return len(chosen)

    def _is_narrowing(self, node: Any) -> bool:
        rows, columns = self._weights[node.input[1]].dims
        return bool(rows > columns)

    def _products_before(self, name: str) -> list[Any]:
        """Return the products with weights that a value is made from with no other product between."""
        products = {id(node) for node in self._products}
        found, seen, waiting = [], set(), [name]
        while waiting:
            node = self._producers.get(waiting.pop())
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            if node.op_type != "MatMul":
                waiting += node.input
            elif id(node) in products:
                found.append(node)
        return found

    def _replace(self, node: Any) -> None:
        """Compute ``scale * (bytes @ weights)``, plus ``least * column sums`` where bytes count from an offset."""
        name, output = node.input[1], node.output[0]
        is_fixed = self._plan.fixed and not self._is_narrowing(node)
        taken = self._bytes_of(node.input[0], is_fixed)
        weights, column_scales = quantize_columns(self._matrix(node, taken.factors))
        inputs = [
            taken.rows,
            self._constant(f"{name}_int8", weights),
            taken.scale if is_fixed else self._constant("int8_one", np.float32(1)),
            self._constant(f"{name}_scales", column_scales),
            taken.zero,
        ]
        if is_fixed:
            if (add := self._bias_after(output, len(column_scales))) is not None:
                self._taken_in.add(id(add))
                inputs += ["", next(one for one in add.input if one != output)]
                output = add.output[0]
            self._node("MatMulIntegerToFloat", inputs, output, domain="com.microsoft")
            return
        product = self._node("MatMulIntegerToFloat", inputs, f"{output}_product", domain="com.microsoft")
        if taken.least is None:
            self._node("Mul", [product, taken.scale], output)
            return
        sums = (weights.sum(axis=0, dtype=np.int64) * column_scales.astype(np.float64)).astype(np.float32)
        scaled = self._node("Mul", [product, taken.scale], f"{output}_scaled")
        shift = self._node("Mul", [taken.least, self._constant(f"{name}_sums", sums)], f"{output}_shift")
        self._node("Add", [scaled, shift], output)

    def _matrix(self, node: Any, factors: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        from onnx import numpy_helper

        matrix: NDArray[np.float32] = numpy_helper.to_array(self._weights[node.input[1]])
        return matrix if factors is None else matrix * factors[:, None]

    def _bias_after(self, product: str, columns: int) -> Any:
        """Return the node that adds a bias to a product which nothing else reads, or None."""
        readers = self._readers.get(product, [])
        if len(readers) != 1 or readers[0] is None or readers[0].op_type != "Add":
            return None
        bias = self._weights.get(next((name for name in readers[0].input if name != product), ""))
        return readers[0] if bias is not None and list(bias.dims) == [columns] else None

    def _bytes_of(self, value: str, is_fixed: bool) -> _Bytes:
        """Quantize a value once for all the products that take it."""
        key = (value, is_fixed)
        if key not in self._quantized:
            self._quantized[key] = self._with_fixed_scale(value) if is_fixed else self._with_scales_of_tokens(value)
        return self._quantized[key]

    def _with_fixed_scale(self, value: str) -> _Bytes:
        factors = self._factors(value)
        step, zero = self._ranges[value].divided(factors).steps()
        scale, zero_point = self._constant(f"{value}_step", step), self._zero_point(int(zero))
        equal = self._node("Mul", [value, self._constant(f"{value}_factors", 1 / factors)], f"{value}_equalized")
        rows = self._node("QuantizeLinear", [equal, scale, zero_point], f"{value}_fixed")
        return _Bytes(rows, zero_point, scale, factors=factors)

    def _factors(self, value: str) -> NDArray[np.float32]:
        """Return a value's factors, which are those of every other value that meets the same weights too."""
        products = [node for node in self._products if not self._is_narrowing(node)]
        values, weights = {value}, {node.input[1] for node in products if node.input[0] == value}
        while len(values) < len(more := values | {node.input[0] for node in products if node.input[1] in weights}):
            values, weights = more, {node.input[1] for node in products if node.input[0] in more}
        matrices = {node.input[1]: node for node in products if node.input[1] in weights}
        seen = Range.of_all([self._ranges[name] for name in values])
        return seen.factors([self._matrix(node) for node in matrices.values()])

    def _with_scales_of_tokens(self, value: str) -> _Bytes:
        least: str | None = None
        counted, smallest_span, zero = value, float(_TINY), _SYMMETRIC_ZERO
        if self._plan.offset:
            zero = 0
            least = self._reduce("ReduceMin", value, f"{value}_least")
            span = self._node("Sub", [self._reduce("ReduceMax", value, f"{value}_most"), least], f"{value}_range")
            counted = self._node("Sub", [value, least], f"{value}_above")
        elif (lowest := self._lowest_of_one_sided(value)) is not None:
            span = self._reduce("ReduceMax", value, f"{value}_range")
            zero = _ONE_SIDED_ZERO if lowest < 0 else 0
            if zero:  # every token's steps reach the lowest
                smallest_span = -lowest * (255 - zero) / zero
        else:
            span = self._reduce("ReduceMax", self._node("Abs", [value], f"{value}_abs"), f"{value}_range")
        steps = self._constant(f"int8_steps_{255 - zero}", np.float32(255 - zero))
        smallest = self._constant(f"{value}_smallest", np.float32(smallest_span))
        span = self._node("Max", [span, smallest], f"{value}_span")
        inverse = self._node("Div", [steps, span], f"{value}_inverse")
        scale = self._node("Div", [span, steps], f"{value}_scale")
        counted = self._node("Mul", [counted, inverse], f"{value}_steps")
        one, zero_point = self._constant("int8_one", np.float32(1)), self._zero_point(zero)
        rows = self._node("QuantizeLinear", [counted, one, zero_point], f"{value}_bytes")
        return _Bytes(rows, zero_point, scale, least)

    def _lowest_of_one_sided(self, value: str) -> float | None:
        """Return the smallest element of a value that reaches much farther above zero than below; else None."""
        if value not in self._ranges:
            return None
        lowest, highest = float(self._ranges[value].least.min()), float(self._ranges[value].most.max())
        return lowest if -lowest * _ONE_SIDED <= highest else None

    def _zero_point(self, zero: int) -> str:
        return self._constant(f"int8_zero_point_{zero}", np.uint8(zero))

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
