"""Collects the nodes and constants that replace those of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np


class GraphWriter:
    """Collects the nodes that take the place of a model's own; constants go into the model at once.

    Attributes:
        nodes: What the graph will consist of.
    """

    def __init__(self, model: Any) -> None:
        from onnx import helper

        self.nodes: list[Any] = []
        self._model = model
        self._make = helper.make_node
        self._constants: set[str] = set()
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self._axes_are_inputs = opset >= 18

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of one output, and return the output's name."""
        self.nodes.append(self._make(kind, inputs, [output], **attributes))
        return output

    def reduce(self, kind: str, value: str, output: str) -> str:
        """Add a node that reduces the last axis to one element, and return its output's name."""
        if self._axes_are_inputs:
            return self.node(kind, [value, self.constant("int8_last_axis", np.array([-1], np.int64))], output)
        return self.node(kind, [value], output, axes=[-1])

    def constant(self, name: str, value: Any) -> str:
        """Add a constant unless it is there, and return its name."""
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants.add(name)
            self._model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def finish(self) -> None:
        """Put the nodes into the model in the place of its own, and drop the weights that nothing reads any more."""
        from onnx import helper

        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        read = {name for node in graph.node for name in names_read(node)}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        if all(entry.domain != "com.microsoft" for entry in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def names_read(node: Any) -> list[str]:
    """Return what a node reads, by the graphs inside it too."""
    inner = [one for attribute in node.attribute if attribute.HasField("g") for one in attribute.g.node]
    return [*node.input, *(name for one in inner for name in names_read(one))]
