"""Adds the choice of the entries that are not zero to a graph of sparse vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ingrain.export.onnx.graph_writer import opset_of

VALUES, INDICES = "values", "indices"
"""Names of the outputs."""


def choose_active_entries(path: Path, weights: str, limit: int | None = None) -> None:
    """Replace a graph's output of whole rows by the entries of each row that are not zero.

    The new outputs are ``values``, float32 ``[B, K]``, and ``indices``, int32 ``[B, K]``: the ``K`` entries of largest
    absolute value, ascending by index, where ``K`` is the largest number of entries that a row of the batch has, at
    least 1. Rows with fewer entries also have zeros, which the reader drops, so that a text's result does not depend on
    its batch.

    Args:
        path: The graph's file; external data stays as it is.
        weights: Name of the output with whole rows, float32 ``[B, V]``.
        limit: Largest number of entries in a row; None for no limit.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph

    def constant(name: str, value: object, dtype: type) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), f"active_{name}"))
        return f"active_{name}"

    def node(kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        graph.node.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    last_axis = constant("last_axis", [-1], np.int64)

    def reduced(kind: str, value: str, name: str, axis: int) -> str:
        """Reduce an axis to one element; the largest of int64 has its axes as an attribute before opset 18."""
        if kind == "ReduceMax" and opset_of(model) < 18:
            return node(kind, [value], name, axes=[axis])
        return node(kind, [value, last_axis if axis == -1 else constant(f"{name}_axis", [axis], np.int64)], name)

    zero = constant("zero", 0, np.float32)
    one = constant("one", [1], np.int64)
    # Not by comparing with zero alone: what is not a number differs from zero, and must not be lost.
    is_zero = node("Equal", [weights, zero], "active_is_zero")
    active = node("Cast", [node("Not", [is_zero], "active_is_active")], "active_ones", to=TensorProto.INT64)
    counts = reduced("ReduceSum", active, "active_counts", -1)
    most = node("Reshape", [reduced("ReduceMax", counts, "active_most", 0), one], "active_most_flat")
    wanted = node("Max", [most, one], "active_wanted")
    if limit is not None:
        wanted = node("Min", [wanted, constant("limit", [limit], np.int64)], "active_limited")
    sizes = node("Abs", [weights], "active_sizes")
    top = helper.make_node("TopK", [sizes, wanted], ["active_top", "active_places"], axis=-1, largest=1, sorted=0)
    graph.node.append(top)
    # There is no other operator that sorts; it takes int64 as well.
    graph.node.append(
        helper.make_node(
            "TopK", ["active_places", wanted], ["active_ascending", "active_order"], axis=-1, largest=0, sorted=1
        )
    )
    node("GatherElements", [weights, "active_ascending"], VALUES, axis=-1)
    node("Cast", ["active_ascending"], INDICES, to=TensorProto.INT32)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(VALUES, TensorProto.FLOAT, ["batch", "entries"]))
    graph.output.append(helper.make_tensor_value_info(INDICES, TensorProto.INT32, ["batch", "entries"]))
    onnx.save(model, str(path))
