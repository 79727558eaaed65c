"""Rewrites a text encoder's graph so that padding costs little: only attention runs on padded sequences.

Nearly all of an encoder's operators treat each token by itself: linear layers, normalizations, activations. In the
rewritten graph they run on the batch's real tokens one after the other, ``[N, H]``, where ``N`` is the sum of the
``attention_mask``. Where another operator needs ``[B, T, H]``, the tokens are copied to their places, and back after
it. The inputs, the output and the weights stay the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ingrain.errors import VerificationError
from ingrain.export.onnx.graph_writer import GraphWriter, names_read
from ingrain.export.onnx.onnx_file import CannotConvert, open_session
from ingrain.export.proof.side_by_side import session_threads

Proof = TypeVar("Proof")

_MASK = "attention_mask"
_PREFIX = "packed_tokens"
_ONE_INPUT = frozenset(
    {"Abs", "Cast", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "Identity", "LeakyRelu", "Log", "Neg", "Reciprocal",
     "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"}
)  # fmt: skip
_MANY_INPUTS = frozenset({"Add", "Clip", "Div", "Max", "Min", "Mul", "Pow", "Sub"})
# Operators on the last axis, which is an input of this number.
_PLACES_OF_AXES = {"ReduceMean": 1, "Slice": 3}
# Copying tokens to their places and back must be rare beside the large products that become smaller.
_MOST_COPIES_A_PRODUCT = 1.0


def write_packed(source: Path, target: Path) -> None:
    """Rewrite a float32 graph with an ``attention_mask`` so that most operators run on real tokens only.

    Args:
        source: The graph's file; its external data is used by the new file, too.
        target: The file to write, in the same folder.

    Raises:
        CannotConvert: The graph has too few operators that treat each token by itself.
    """
    import onnx

    model = onnx.load(str(source), load_external_data=False)
    if all(value.name != _MASK for value in model.graph.input):
        raise CannotConvert("it has no attention mask")
    packer = _Packer(model)
    packer.rewrite()
    if not packer.products or packer.copies > _MOST_COPIES_A_PRODUCT * packer.products:
        raise CannotConvert(f"{packer.copies} copies of tokens for {packer.products} products are too many")
    onnx.save(model, str(target))


def try_packed(path: Path, examine: Callable[[Any], Proof], *, what: str) -> Proof | None:
    """Replace a graph by its rewritten form, if there is one and it is proved.

    Args:
        path: The graph's file.
        examine: Takes a session of the rewritten graph, and raises ``VerificationError`` if it is not proved.
        what: The graph's name in the log.

    Returns:
        What ``examine`` returned; None if the graph is as it was.
    """
    packed = path.with_name("packed.onnx")
    try:
        write_packed(path, packed)
        proof = examine(open_session(packed, session_threads()))
    except (CannotConvert, VerificationError) as error:
        print(f"{what}, on real tokens only, failed: {error}", file=sys.stderr)  # noqa: T201  # the worker's log
        packed.unlink(missing_ok=True)
        return None
    packed.replace(path)
    return proof


class _Packer:
    """Rewrites one model.

    Attributes:
        products: Number of products with weights that run on real tokens.
        copies: Number of values that are copied to or from padded sequences.
    """

    def __init__(self, model: Any) -> None:
        self.products = self.copies = 0
        self._graph = model.graph
        self._writer = GraphWriter(model)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
        self._shapes = {value.name: _shape(value) for value in values if value.name not in self._constants}
        self._axes = self._shapes[_MASK]
        # Values that exist as rows of real tokens, and those that exist as padded sequences, by their first name.
        self._packed: set[str] = set()
        self._padded: set[str] = set()

    def rewrite(self) -> None:
        """Rewrite all nodes."""
        self._write_places()
        # Copies, because the nodes of the model are removed before the new ones are added.
        for node in [_copy(node) for node in self._graph.node]:
            if self._runs_on_tokens(node):
                self._write_on_tokens(node)
            else:
                self._write_as_it_is(node)
        for output in self._graph.output:
            self._pad(output.name)
        self._writer.finish()
        del self._graph.value_info[:]  # the shapes of packed values differ

    def _write_places(self) -> None:
        """Compute the place of each real token in the padded batch, and the row of each place among the real tokens.

        A place that is padding gets the row of the token before it, which is finite, as whatever follows the padding
        of the graph as exported ignores it. The first place of each text counts as real, so that each has a row.
        """
        write, constant = self._writer.node, self._writer.constant
        zero, one = (constant(f"{_PREFIX}_{number}", np.array(number, np.int64)) for number in (0, 1))
        all_in_one = constant(f"{_PREFIX}_flat", np.array([-1], np.int64))
        ends = constant(f"{_PREFIX}_ends", np.array([np.iinfo(np.int64).max], np.int64))
        second = constant(f"{_PREFIX}_second", np.array([1], np.int64))
        before = constant(f"{_PREFIX}_before", np.array([0, 1, 0, 0], np.int64))
        write("Cast", [_MASK], f"{_PREFIX}_mask", to=7)  # INT64
        write("Slice", [f"{_PREFIX}_mask", second, ends, second], f"{_PREFIX}_tail")
        write("Pad", [f"{_PREFIX}_tail", before, one], f"{_PREFIX}_real")
        write("Reshape", [f"{_PREFIX}_real", all_in_one], f"{_PREFIX}_reals")
        write("NonZero", [f"{_PREFIX}_reals"], f"{_PREFIX}_found")
        write("Reshape", [f"{_PREFIX}_found", all_in_one], f"{_PREFIX}_places")
        write("CumSum", [f"{_PREFIX}_reals", zero], f"{_PREFIX}_counts")
        write("Sub", [f"{_PREFIX}_counts", one], f"{_PREFIX}_row_of_each")
        write("Shape", [_MASK], f"{_PREFIX}_shape")
        write("Reshape", [f"{_PREFIX}_row_of_each", f"{_PREFIX}_shape"], f"{_PREFIX}_rows")

    def _runs_on_tokens(self, node: Any) -> bool:
        """Return whether a node treats each token by itself, and is worth to be run on real tokens.

        The first such node is a product or a normalization. Cheaper operators only follow others.
        """
        if any(not self._is_sequence(name) for name in node.output):
            return False
        first, *others = node.input
        if node.op_type == "MatMul":
            return self._is_sequence(first) and self._rank_of_constant(others[0]) == 2
        if node.op_type == "LayerNormalization":
            return self._is_sequence(first) and _attribute(node, "axis", -1) in (-1, 2)
        if not any(name in self._packed for name in node.input):
            return False
        if node.op_type in _ONE_INPUT:
            return True
        if node.op_type in _MANY_INPUTS:
            return all(not name or self._is_by_feature(name) or self._is_packable(name) for name in node.input)
        if node.op_type == "Split":
            return _attribute(node, "axis", 0) in (-1, 2)
        place = _PLACES_OF_AXES.get(node.op_type, len(node.input))
        return place < len(node.input) and self._is_last_axis(node.input[place])

    def _write_on_tokens(self, node: Any) -> None:
        self.products += node.op_type == "MatMul"
        inputs = [self._pack(name) if self._is_packable(name) else name for name in node.input]
        if node.op_type in _PLACES_OF_AXES:  # rows have one axis less
            last = self._writer.constant(f"{_PREFIX}_last_axis", np.array([-1], np.int64))
            inputs[_PLACES_OF_AXES[node.op_type]] = last
        for attribute in node.attribute:
            if attribute.name == "axis":
                attribute.i = -1
        self._packed.update(node.output)
        outputs = [_packed_name(name) for name in node.output]
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
        self._writer.nodes.append(node)

    def _write_as_it_is(self, node: Any) -> None:
        for name in names_read(node):
            self._pad(name)
        self._writer.nodes.append(node)

    def _pack(self, name: str) -> str:
        """Return the name of a value's rows of real tokens, ``[N, H]``."""
        packed = _packed_name(name)
        if name not in self._packed:
            width = self._shapes[name][2]
            shape = self._writer.constant(f"{_PREFIX}_rows_of_{width}", np.array([-1, width], np.int64))
            rows = self._writer.node("Reshape", [name, shape], f"{packed}_and_padding")
            self._writer.node("Gather", [rows, f"{_PREFIX}_places"], packed, axis=0)
            self._packed.add(name)
            self._padded.add(name)
            self.copies += 1
        return packed

    def _pad(self, name: str) -> None:
        """Make sure that a value exists as padded sequences, ``[B, T, H]``."""
        if name in self._packed and name not in self._padded:
            self._writer.node("Gather", [_packed_name(name), f"{_PREFIX}_rows"], name, axis=0)
            self._padded.add(name)
            self.copies += 1

    def _is_sequence(self, name: str) -> bool:
        """Return whether a value has the shape ``[B, T, H]``."""
        shape = self._shapes.get(name, ())
        return len(shape) == 3 and shape[:2] == self._axes and isinstance(shape[2], int) and shape[2] != 0

    def _is_packable(self, name: str) -> bool:
        """Return whether a value is packed, or may be: not if it has one number a token, as a mask has."""
        return name in self._packed or (self._is_sequence(name) and self._shapes[name][2] != 1)

    def _is_by_feature(self, name: str) -> bool:
        """Return whether a value is a constant that is the same for all tokens."""
        return self._rank_of_constant(name) in (0, 1)

    def _rank_of_constant(self, name: str) -> int | None:
        return len(self._constants[name].dims) if name in self._constants else None

    def _is_last_axis(self, name: str) -> bool:
        """Return whether a constant names the last axis of a sequence, and only that."""
        from onnx import numpy_helper

        if self._rank_of_constant(name) != 1 or list(self._constants[name].dims) != [1]:
            return False
        return int(numpy_helper.to_array(self._constants[name])[0]) in (-1, 2)


def _packed_name(name: str) -> str:
    return f"{name}_{_PREFIX}"


def _shape(value: Any) -> tuple[int | str, ...]:
    return tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _copy(node: Any) -> Any:
    copied = type(node)()
    copied.CopyFrom(node)
    return copied
