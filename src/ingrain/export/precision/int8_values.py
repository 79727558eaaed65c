"""Writes the nodes that quantize float32 values to uint8 and compute their scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ingrain.export.onnx.graph_writer import GraphWriter
from ingrain.export.precision.equalize import Floats, Range

_TINY = np.float32(1e-12)  # avoids a division by zero for tokens of zeros
_SYMMETRIC_ZERO, _ONE_SIDED_ZERO = 128, 32  # the byte that represents zero
_ONE_SIDED = 8  # least ratio of maximum to minimum for a value to count as one-sided; GELU outputs have 10 to 100


Fixed = Literal["none", "wide", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product of tokens with weights.

    Attributes:
        value: Name of the left operand, ``[..., K]``.
        weights: Name of the matrix.
        matrix: Its elements, float32 ``[K, N]``.
    """

    value: str
    weights: str
    matrix: Floats

    @property
    def is_narrowing(self) -> bool:
        """True if the product makes vectors narrower."""
        rows, columns = self.matrix.shape
        return rows > columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """A quantized value; the strings are names of values in the graph.

    Attributes:
        rows: The bytes.
        zero: The byte that represents zero.
        scale: The scale of all tokens, or one scale per token.
        is_fixed: True if all tokens have the same scale.
        least: Each token's smallest element, if its bytes count from there.
        factors: Factors for the rows of the weights, float32 ``[K]``.
    """

    rows: str
    zero: str
    scale: str
    is_fixed: bool
    least: str | None = None
    factors: NDArray[np.float32] | None = None


class Int8Values:
    """Quantizes each value once, for all products that use it.

    Args:
        writer: Collects the nodes.
        products: All products of the graph that are quantized.
        offset: True: tokens with their own scales count from their smallest element.
        fixed: Which values have one scale for all tokens: none; "wide", those used by a product that does not narrow;
            or all.
        ranges: Ranges of the values; may be empty if ``fixed`` is "none".
    """

    def __init__(
        self,
        writer: GraphWriter,
        products: Sequence[Product],
        *,
        offset: bool,
        fixed: Fixed,
        ranges: Mapping[str, Range],
    ) -> None:
        self._writer = writer
        self._offset = offset
        self._ranges = ranges
        wide = {product.value for product in products if not product.is_narrowing}
        self._equalized = set() if fixed == "none" else wide
        self._fixed = {product.value for product in products} if fixed == "all" else self._equalized
        self._products = [product for product in products if product.value in self._equalized]
        self._done: dict[str, Bytes] = {}

    def of(self, value: str) -> Bytes:
        """Return the quantized form of a value."""
        if value not in self._done:
            round_ = self._with_one_scale if value in self._fixed else self._with_scales_of_tokens
            self._done[value] = round_(value)
        return self._done[value]

    def _with_one_scale(self, value: str) -> Bytes:
        seen, equal, factors = self._ranges[value], value, None
        if value in self._equalized:
            factors = self._factors(value)
            seen = seen.divided(factors)
            inverse = self._writer.constant(f"{value}_factors", 1 / factors)
            equal = self._writer.node("Mul", [value, inverse], f"{value}_equalized")
        step, zero = seen.steps()
        scale, zero_point = self._writer.constant(f"{value}_step", step), self._zero_point(int(zero))
        rows = self._writer.node("QuantizeLinear", [equal, scale, zero_point], f"{value}_bytes")
        return Bytes(rows=rows, zero=zero_point, scale=scale, is_fixed=True, factors=factors)

    def _factors(self, value: str) -> Floats:
        """Return a value's factors; all values that are multiplied with the same weights share them."""
        values, weights = {value}, self._weights_of({value})
        while len(values) < len(more := values | {one.value for one in self._products if one.weights in weights}):
            values, weights = more, self._weights_of(more)
        matrices = {one.weights: one.matrix for one in self._products if one.weights in weights}
        return Range.of_all([self._ranges[name] for name in values]).factors(list(matrices.values()))

    def _weights_of(self, values: set[str]) -> set[str]:
        return {product.weights for product in self._products if product.value in values}

    def _with_scales_of_tokens(self, value: str) -> Bytes:
        least: str | None = None
        counted, smallest_span, zero = value, float(_TINY), _SYMMETRIC_ZERO
        node, reduce = self._writer.node, self._writer.reduce
        if self._offset:
            zero = 0
            least = reduce("ReduceMin", value, f"{value}_least")
            span = node("Sub", [reduce("ReduceMax", value, f"{value}_most"), least], f"{value}_range")
            counted = node("Sub", [value, least], f"{value}_above")
        elif (lowest := self._lowest_of_one_sided(value)) is not None:
            span = reduce("ReduceMax", value, f"{value}_range")
            zero = _ONE_SIDED_ZERO if lowest < 0 else 0
            if zero:  # large enough that every token's range includes the lowest element
                smallest_span = -lowest * (255 - zero) / zero
        else:
            span = reduce("ReduceMax", node("Abs", [value], f"{value}_abs"), f"{value}_range")
        steps = self._writer.constant(f"int8_steps_{255 - zero}", np.float32(255 - zero))
        smallest = self._writer.constant(f"{value}_smallest", np.float32(smallest_span))
        span = node("Max", [span, smallest], f"{value}_span")
        inverse = node("Div", [steps, span], f"{value}_inverse")
        scale = node("Div", [span, steps], f"{value}_scale")
        counted = node("Mul", [counted, inverse], f"{value}_steps")
        one, zero_point = self._writer.constant("int8_one", np.float32(1)), self._zero_point(zero)
        rows = node("QuantizeLinear", [counted, one, zero_point], f"{value}_bytes")
        return Bytes(rows=rows, zero=zero_point, scale=scale, is_fixed=False, least=least)

    def _lowest_of_one_sided(self, value: str) -> float | None:
        """Return the smallest element of a value that extends much farther above zero than below; else None."""
        if value not in self._ranges:
            return None
        lowest, highest = float(self._ranges[value].least.min()), float(self._ranges[value].most.max())
        return lowest if -lowest * _ONE_SIDED <= highest else None

    def _zero_point(self, zero: int) -> str:
        return self._writer.constant(f"int8_zero_point_{zero}", np.uint8(zero))
