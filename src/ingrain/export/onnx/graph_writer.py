"""Helpers to rewrite an ONNX graph: collect new nodes and constants, find what a node reads."""

from __future__ import annotations

from typing import Any

import numpy as np


class GraphWriter:
    """Collects the nodes that replace a model's nodes; constants are added to the model immediately.

    Attributes:
        nodes: The new nodes of the graph, in order.
    """

    def __init__(self, model: Any) -> None:
        from onnx import helper

        self.nodes: list[Any] = []
        self._model = model
        self._make = helper.make_node
        self._constants: set[str] = set()
        self._axes_are_inputs = opset_of(model) >= 18

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        self.nodes.append(self._make(kind, inputs, [output], **attributes))
        return output

    def reduce(self, kind: str, value: str, output: str) -> str:
        """Add a node that reduces the last axis to one element, and return its output's name."""
        if self._axes_are_inputs:
            return self.node(kind, [value, self.constant("int8_last_axis", np.array([-1], np.int64))], output)
        return self.node(kind, [value], output, axes=[-1])

    def constant(self, name: str, value: Any) -> str:
        """Add a constant unless it exists, and return its name."""
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants.add(name)
            self._model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def finish(self) -> None:
        """Replace the model's nodes by the collected ones, and remove weights that no node reads."""
        from onnx import helper

        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        read = {name for node in graph.node for name in names_read(node)}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        is_imported = any(entry.domain == "com.microsoft" for entry in self._model.opset_import)
        if not is_imported and any(node.domain == "com.microsoft" for node in self.nodes):
            self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def opset_of(model: Any) -> int:
    """Return the version of the standard operators that a model uses."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def names_read(node: Any) -> list[str]:
    """Return the names of the values that a node and its subgraphs read."""
    inner = [one for attribute in node.attribute if attribute.HasField("g") for one in attribute.g.node]
    return [*node.input, *(name for one in inner for name in names_read(one))]
