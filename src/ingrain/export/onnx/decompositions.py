"""Replaces the operators of a traced network that ONNX has no function for, without tracing the network again.

``ExportedProgram.run_decompositions`` traces the whole network twice more, which takes more than half of an export's
time. Few operators need a replacement. Here only those are traced, each by itself.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ingrain.machine_faults import raise_if_machines

Table = Mapping[Any, Callable[..., Any]]

# Operators that return a new tensor, although their schemas do not promise it.
_NEW_TENSORS = frozenset(
    f"aten::{name}"
    for name in ("batch_norm", "conv1d", "conv2d", "group_norm", "layer_norm", "linear", "matmul", "softmax")
)

# Operators that are replaced although ONNX has functions for them, which would compute sizes from other values.
_REPLACED = frozenset({"aten::chunk", "aten::flatten", "aten::unflatten"})


class TooComplicatedError(Exception):
    """The program has something that only torch's own pass can replace."""


def decompose(program: Any, known: Collection[Any], table: Table) -> Any:
    """Return a program whose operators can be written as ONNX, as far as there are replacements.

    Args:
        program: A ``torch.export.ExportedProgram`` for inference; it stays as it is.
        known: The operators (``torch._ops.OpOverload``) that can be written as ONNX.
        table: Functions that compute an operator with others.

    Raises:
        TooComplicatedError: The program changes a tensor that may have other names, or contains other programs.
    """
    import torch
    from torch._dispatch.python import enable_python_dispatcher

    rewriter = _Rewriter(known, table)
    with torch.no_grad(), _fake_mode(program.graph), enable_python_dispatcher():
        rewriter.rewrite(program.graph)
    rewritten = copy.copy(program)
    rewritten._graph_module = torch.fx.GraphModule(program.graph_module, rewriter.graph)
    rewritten._graph_module.meta.update(program.graph_module.meta)
    rewritten._graph_signature = _with_names_of_outputs(program, rewriter.graph)
    return rewritten


def _fake_mode(graph: Any) -> Any:
    """Return the mode in which values are computed that have a shape and no data."""
    values = (node.meta.get("val") for node in graph.nodes)
    return next(value.fake_mode for value in values if hasattr(value, "fake_mode"))


def _with_names_of_outputs(program: Any, graph: Any) -> Any:
    """Return the program's signature for a graph whose outputs have other names."""
    signature = copy.deepcopy(program.graph_signature)
    for old, new in zip(*(_outputs(each) for each in (program.graph, graph)), strict=True):
        if old.name != new.name:
            signature.replace_all_uses(old.name, new.name)
    return signature


def _outputs(graph: Any) -> list[Any]:
    return list(graph.output_node().all_input_nodes)


class _Rewriter:
    """Copies a graph, with other nodes in the place of operators that are not known.

    Attributes:
        graph: The new graph.
    """

    def __init__(self, known: Collection[Any], table: Table) -> None:
        import torch

        self.graph = torch.fx.Graph()
        self._known, self._table = known, table
        # The new node of each old one; a list of nodes for an operator with several outputs.
        self._new: dict[Any, Any] = {}
        # Nodes that name the same tensor, for tensors that are changed in place.
        self._names: dict[Any, list[Any]] = {}
        # New nodes that compute a size, by its expression.
        self._sizes: dict[Any, Any] = {}
        # New nodes that a replacement consists of.
        self._traced: list[Any] = []

    def rewrite(self, graph: Any) -> None:
        """Copy all nodes, then remove those that nothing reads."""
        import torch

        for node in graph.nodes:
            if node.op in ("placeholder", "output"):
                self._new[node] = self.graph.node_copy(node, self._new.__getitem__)
                self._new[node].name = node.name  # the signature has it; a graph takes no `input` by itself
            elif node.op != "call_function" or isinstance(node.target, torch._ops.HigherOrderOperator):
                raise TooComplicatedError(f"{node.name} is a {node.op} of {node.target}")
            elif node.target is operator.getitem and isinstance(self._new[node.args[0]], list):
                self._new[node] = self._new[node.args[0]][node.args[1]]
            elif isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
                self._write_unchanging(node)
            else:
                self._new[node] = self._write(node, node.target)
        self.graph.eliminate_dead_code()
        left = set(self.graph.nodes)
        for node in self._traced:
            if node in left and isinstance(node.target, torch._ops.OpOverload) and node.target not in self._known:
                raise TooComplicatedError(f"a replacement has the operator {node.target}")

    def _write(self, node: Any, target: Any) -> Any:
        """Write a node with another operator; return the new node, or nodes."""
        import torch

        if target is torch.ops.aten.reshape.default:
            target = torch.ops.aten.view.default  # its function in ONNX also takes tensors without elements
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), self._new.__getitem__)
        if isinstance(target, torch._ops.OpOverload) and not self._is_written(target):
            if target._schema.name == "aten::to" and _is_same_kind(node, node.args[0]):
                return args[0]
            if target is torch.ops.aten.adaptive_avg_pool2d.default and list(args[1]) == [1, 1]:
                return self._add(torch.ops.aten.mean.dim, (args[0], [-1, -2], True), {}, node)
            if target in self._table or target._can_decompose():
                return self._expand(target, args, kwargs, node.meta)
        return self._add(target, args, kwargs, node)

    def _is_written(self, target: Any) -> bool:
        """Return whether an operator's own function in ONNX is used."""
        return target in self._known and target._schema.name not in _REPLACED

    def _add(self, target: Any, args: Any, kwargs: Any, old: Any) -> Any:
        """Add a node for the value of an old one."""
        written = self.graph.create_node("call_function", target, args, kwargs, old.name, old.type)
        written.meta = copy.copy(old.meta)
        if (size := _size(old)) is not None:
            self._sizes.setdefault(size, written)
        return written

    def _expand(self, target: Any, args: Any, kwargs: Any, meta: dict[str, Any]) -> Any:
        """Trace one operator's replacement, and copy its nodes; they came from where ``meta`` says."""
        import torch
        from torch.fx.experimental.proxy_tensor import make_fx
        from torch.utils import _pytree as pytree

        flat, structure = pytree.tree_flatten((args, kwargs))
        nodes = [each for each in flat if isinstance(each, torch.fx.Node)]

        def compute(*values: Any) -> Any:
            left = iter(values)
            given = [next(left) if isinstance(each, torch.fx.Node) else each for each in flat]
            args, kwargs = pytree.tree_unflatten(given, structure)
            return self._table.get(target, target.decompose)(*args, **kwargs)

        try:
            traced = make_fx(compute, self._table)(*[node.meta["val"] for node in nodes]).graph
        except Exception as error:  # tracing raises exceptions of many kinds
            raise_if_machines(error)
            raise TooComplicatedError(f"the replacement of {target} cannot be traced by itself") from error
        new = dict(zip(traced.find_nodes(op="placeholder"), nodes, strict=True))
        for node in traced.nodes:
            if (size := self._sizes.get(_size(node))) is not None:
                new[node] = size
            elif node.op == "call_function":
                new[node] = self.graph.node_copy(node, new.__getitem__)
                new[node].meta = meta | node.meta
                self._traced.append(new[node])
            elif node.op not in ("placeholder", "output"):
                raise TooComplicatedError(f"the replacement of {target} has a {node.op}")
        outputs = traced.output_node().args[0]
        return new[outputs] if isinstance(outputs, torch.fx.Node) else [new[output] for output in outputs]

    def _write_unchanging(self, node: Any) -> None:
        """Write an operator that changes its first argument as the one that returns the changed tensor."""
        import torch

        changed = node.args[0]
        names = self._names.get(changed, [changed])
        readers = {reader for name in names for reader in name.users if reader in self._new}
        if not _is_new_tensor(names[0]) or not all(map(_is_new_tensor, readers - set(names))):
            raise TooComplicatedError(f"{node.name} may change a tensor with several names")
        if not _keeps_kind(node):
            raise TooComplicatedError(f"{node.name} converts its result")
        namespace, name = node.target._schema.name.split("::")
        packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
        twin = getattr(packet, node.target._overloadname, None)
        if twin is None or twin is node.target:
            raise TooComplicatedError(f"{node.target} changes a tensor")
        written = self._write(node, twin)
        names = [*names, node]
        self._new |= dict.fromkeys(names, written)
        self._names |= dict.fromkeys(names, names)


def _size(node: Any) -> Any:
    """Return the expression of a size that a node computes; None for other nodes."""
    import torch

    value = node.meta.get("val")
    return value.node.expr if isinstance(value, torch.SymInt) else None


def _is_new_tensor(node: Any) -> bool:
    """Return whether a node's value surely shares no memory with another."""
    import torch

    if _size(node) is not None:
        return True  # it is no tensor
    if node.target is operator.getitem:  # one output of several
        return _is_new_tensor(node.args[0])
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    schema = node.target._schema
    shares = any(result.alias_info is not None for result in schema.returns)
    return schema.name in _NEW_TENSORS or not (shares or node.target._can_decompose())


def _keeps_kind(node: Any) -> bool:
    """Return whether an operator that changes its first argument would return the same kind without changing it."""
    import torch

    changed = node.args[0].meta["val"]
    others = [each.meta["val"] for each in node.all_input_nodes]
    numbers = [each for each in node.args[1:] if isinstance(each, float | complex)]
    tensors = [each for each in others if isinstance(each, torch.Tensor)]
    return all(each.dtype in (changed.dtype, torch.bool) for each in tensors) and (
        changed.is_floating_point() or not numbers
    )


def _is_same_kind(node: Any, other: Any) -> bool:
    """Return whether two values have the same dtype and lie on the same device."""
    one, two = node.meta["val"], other.meta["val"]
    return bool(one.dtype == two.dtype and one.device == two.device)
