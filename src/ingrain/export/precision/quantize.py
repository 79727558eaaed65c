"""Quantizes the matrix products of a graph to int8.

ONNX Runtime's own dynamic quantization uses one scale for a whole batch of activations, so a text's vector depends on
the other texts in the batch (cosine 0.99 on all-MiniLM-L6-v2). Here a vector does not depend on the batch, and is
closer to the source's. There are two methods:

- Every token has its own scale, as in ZeroQuant (Yao et al., 2022).
- A value has one fixed scale for all texts, measured on a sample, after its columns were equalized (``equalize.py``).
  This costs next to nothing, but is coarse for the inputs of products that make vectors narrower, above all the second
  of a feed-forward pair. If the coarse scale misses the floors, these inputs get one scale per token.

Weights have one scale per output column and values from -64 to 64: on CPUs without VNNI, products of two neighbouring
bytes are summed in 16 bits, and 2 x 255 x 64 is the most that fits. So every CPU computes the same sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import UnsupportedModelError
from ingrain.export.onnx.graph_writer import GraphWriter, names_read
from ingrain.export.onnx.onnx_file import save_onnx
from ingrain.export.precision.equalize import Range
from ingrain.export.precision.int8_values import Bytes, Fixed, Int8Values, Product

_WEIGHT_LEVELS = 64
_TINY = np.float32(1e-12)  # avoids a division by zero for columns of zeros

Kept = Literal["none", "narrowing", "feed_forward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Plan:
    """One way to quantize.

    Attributes:
        offset: True: a token's bytes count from its smallest value, which uses all 256 steps even if the values are on
            one side of zero. False: 127 steps on each side of zero, a tenth faster.
        kept: Which products stay float32: none; "narrowing", those that make vectors narrower (the second of a
            feed-forward pair, whose inputs have the widest range); or "feed_forward", both of each such pair.
        fixed: Which values have one scale for all texts, measured on a sample: none; "wide", those used by a product
            that does not narrow; or all, another twentieth faster. If some values are fixed, the others use more steps
            above zero if the sample has few values below zero.
    """

    offset: bool
    kept: Kept = "none"
    fixed: Fixed = "none"

    def __str__(self) -> str:
        steps = "with an offset" if self.offset else "symmetric"
        if self.fixed != "none":
            steps = "fixed scales" if self.fixed == "all" else f"fixed scales, {steps} where narrowing"
        return f"int8, {steps}" + ("" if self.kept == "none" else f", {self.kept} products in float32")


def write_int8(source: Path, target: Path, plan: Int8Plan, ranges: Mapping[str, Range] | None = None) -> None:
    """Quantize the products of tokens with weights.

    Args:
        source: A float32 ONNX file, with external data if it has any.
        target: File to write; weights above 500 MB go to ``<target>.data``.
        plan: How to quantize.
        ranges: Ranges of the values that are multiplied with weights; needed if the plan has fixed scales.

    Raises:
        UnsupportedModelError: The graph has no such product.
    """
    import onnx

    model = onnx.load(str(source))
    if not _Rewriter(model, plan, ranges or {}).run():
        raise UnsupportedModelError("The graph has no matrix product that can be quantized.", param="precision")
    save_onnx(model, target)


def products_with_weights(graph: Any) -> list[Any]:
    """Return the nodes of an ``onnx.GraphProto`` that multiply a value by a float32 weight matrix."""
    matrices = {
        tensor.name
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == 1  # TensorProto.FLOAT
    }
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in matrices]


class _Rewriter:
    """Replaces nodes of one model, in place."""

    def __init__(self, model: Any, plan: Int8Plan, ranges: Mapping[str, Range]) -> None:
        self._graph = model.graph
        self._plan = plan
        self._ranges = ranges
        self._writer = GraphWriter(model)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {output: node for node in model.graph.node for output in node.output}
        self._readers: dict[str, list[Any]] = {output.name: [None] for output in model.graph.output}
        for node in model.graph.node:
            for name in names_read(node):
                self._readers.setdefault(name, []).append(node)
        self._taken_in: set[int] = set()

    def run(self) -> int:
        """Rewrite, and return how many products were replaced."""
        products = self._products()
        values = Int8Values(
            self._writer,
            list(products.values()),
            offset=self._plan.offset,
            fixed=self._plan.fixed,
            ranges=self._ranges,
        )
        for node in self._graph.node:
            if id(node) in products:
                self._replace(products[id(node)], values.of(node.input[0]), node.output[0])
            elif id(node) not in self._taken_in:
                self._writer.nodes.append(node)
        self._writer.finish()
        return len(products)

    def _products(self) -> dict[int, Product]:
        """Return the products to replace, by the identity of their nodes."""
        from onnx import numpy_helper

        found: dict[int, Product] = {}
        arrays: dict[str, NDArray[np.float32]] = {}
        nodes = products_with_weights(self._graph)
        for node in nodes:
            name = node.input[1]
            if name not in arrays:
                arrays[name] = numpy_helper.to_array(self._tensors[name])
            found[id(node)] = Product(value=node.input[0], weights=name, matrix=arrays[name])
        if self._plan.kept == "none":
            return found
        narrowing = [node for node in nodes if found[id(node)].is_narrowing]
        kept = {id(node) for node in narrowing}
        if self._plan.kept == "feed_forward":
            kept |= {wide for node in narrowing for wide in self._products_before(node.input[0], set(found))}
        return {key: product for key, product in found.items() if key not in kept}

    def _products_before(self, name: str, products: set[int]) -> list[int]:
        """Return the nearest products with weights that a value is computed from."""
        found, seen, waiting = [], set(), [name]
        while waiting:
            node = self._producers.get(waiting.pop())
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            if node.op_type != "MatMul":
                waiting += node.input
            elif id(node) in products:
                found.append(id(node))
        return found

    def _replace(self, product: Product, taken: Bytes, output: str) -> None:
        """Compute ``scale * (bytes @ weights)``, plus ``least * column sums`` if the bytes count from an offset."""
        if taken.is_fixed:
            self._replace_of_one_scale(product, taken, output)
            return
        name, constant, node = product.weights, self._writer.constant, self._writer.node
        weights, column_scales = quantize_columns(product.matrix)
        one = constant("int8_one", np.float32(1))
        matrix, scales = constant(f"{name}_int8", weights), constant(f"{name}_scales", column_scales)
        inputs = [taken.rows, matrix, one, scales, taken.zero]
        whole = node("MatMulIntegerToFloat", inputs, f"{output}_product", domain="com.microsoft")
        if taken.least is None:
            node("Mul", [whole, taken.scale], output)
            return
        sums = (weights.sum(axis=0, dtype=np.int64) * column_scales.astype(np.float64)).astype(np.float32)
        scaled = node("Mul", [whole, taken.scale], f"{output}_scaled")
        shift = node("Mul", [taken.least, constant(f"{name}_sums", sums)], f"{output}_shift")
        node("Add", [scaled, shift], output)

    def _replace_of_one_scale(self, product: Product, taken: Bytes, output: str) -> None:
        """Compute product, scaling and a following addition of a bias in one node."""
        name, matrix = product.weights, product.matrix
        if taken.factors is not None:
            name, matrix = f"{name}_equalized", matrix * taken.factors[:, None]
        weights, column_scales = quantize_columns(matrix)
        inputs = [
            taken.rows,
            self._writer.constant(f"{name}_int8", weights),
            taken.scale,
            self._writer.constant(f"{name}_scales", column_scales),
            taken.zero,
        ]
        add = self._bias_after(output, len(column_scales))
        if add is not None:
            self._taken_in.add(id(add))
            inputs += ["", next(name for name in add.input if name != output)]
        done = output if add is None else add.output[0]
        self._writer.node("MatMulIntegerToFloat", inputs, done, domain="com.microsoft")

    def _bias_after(self, product: str, columns: int) -> Any:
        """Return the node that adds a bias to a product, or None; no other node may read the product."""
        readers = self._readers.get(product, [])
        if len(readers) != 1 or readers[0] is None or readers[0].op_type != "Add":
            return None
        bias = self._tensors.get(next((name for name in readers[0].input if name != product), ""))
        return readers[0] if bias is not None and list(bias.dims) == [columns] else None


def quantize_columns(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a matrix ``[K, N]`` as integers from -64 to 64, and each column's scale, float32 ``[N]``."""
    scales = np.maximum(np.abs(matrix).max(axis=0), _TINY) / _WEIGHT_LEVELS
    return np.rint(matrix / scales).astype(np.int8), scales.astype(np.float32)
