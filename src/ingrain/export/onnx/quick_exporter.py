"""Makes torch's ONNX exporter faster, and makes it free its memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ingrain.export.onnx.decompositions import decompose
from ingrain.machine_faults import raise_if_machines


@contextmanager
def quick_exporter() -> Iterator[None]:
    """Make torch's exporter write the same graph in less time and memory while the context is open.

    - The traced network is traced twice more, to replace operators without a function in ONNX, and then run once more,
      to insert conversions of types. Here only what is replaced is traced, and what is inserted is run.
    - The optimizer tries each rule on each node, and a rule with two outputs lists the whole graph first. Here a rule
      is tried only on nodes with its first operator. (A tower of 24 layers took as long to optimize as to trace.)
    - Each export parses the source of a thousand functions, which never change, and half of them only to learn a name
      that all have in common. Here they are cached, and that name is known.
    - The rules are global and keep the last graph with its weights in memory. Here they forget it.

    The patched names are not public. If a version of torch or onnxscript lacks one, nothing is patched.
    """
    try:
        from onnxscript._internal.values import TracedOnnxFunction
        from onnxscript.rewriter import RewriteRule
        from torch.onnx._internal.exporter import _decomp, _fx_passes
        from torch.onnx._internal.exporter._registration import ONNXRegistry
        from torch.onnx._internal.fx.passes import type_promotion

        interpreter = type_promotion._TypePromotionInterpreter
        patches = (
            (RewriteRule, "try_rewrite", _try_rewrite(RewriteRule.try_rewrite)),
            (ONNXRegistry, "from_torchlib", _functions(ONNXRegistry.from_torchlib, TracedOnnxFunction)),
            (_fx_passes, "decompose_with_registry", _decompose(_fx_passes.decompose_with_registry, _decomp)),
            (interpreter, "run_node", _run_node(type_promotion)),
        )
    except (ImportError, AttributeError):
        yield
        return
    with ExitStack() as stack:
        for place, name, quick in patches:
            stack.enter_context(mock.patch.object(place, name, quick))
        yield


def _try_rewrite(plain: Any) -> Any:
    def try_rewrite(rule: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        if not _may_begin_at(rule, node):
            return None
        try:
            return plain(rule, model, graph, node, **options)
        finally:
            _forget(rule)

    return try_rewrite


@functools.cache
def _functions(read: Any, kind: Any) -> Any:
    """Return ``read`` with a cache. The result is safe to share: only custom functions change it, and we have none.

    Args:
        read: Reads all functions.
        kind: The class of functions whose source is parsed for no more than their domain.
    """

    @functools.cache
    def read_once(**options: Any) -> Any:
        with mock.patch.object(kind, "function_ir", property(_with_domain)):
            return read(**options)

    return staticmethod(read_once)  # static, because the call on an instance would pass the instance


def _with_domain(function: Any) -> Any:
    return SimpleNamespace(domain=function.opset.domain)


def _decompose(plain: Any, operators: Any) -> Any:
    """Return a function that replaces operators, with torch's own as the fallback.

    Args:
        plain: Torch's own function.
        operators: Torch's module that tells which operators are known, and what replaces others.
    """

    def decompose_with_registry(program: Any, registry: Any) -> Any:
        try:
            return decompose(program, *_replacements(operators, registry))
        except Exception as error:  # not only TooComplicatedError: values and schemas of custom operators vary
            raise_if_machines(error)
            return plain(program, registry)

    return decompose_with_registry


@functools.cache
def _replacements(operators: Any, registry: Any) -> tuple[frozenset[Any], dict[Any, Any]]:
    """Return the operators that ONNX has functions for, and what replaces others."""
    known = frozenset(operators.get_onnx_implemented_overloads(registry))
    return known, operators.create_onnx_friendly_decomposition_table(known)


def _run_node(module: Any) -> Any:
    """Return the step of the pass that inserts conversions of types, for values that are known from the trace.

    Args:
        module: Torch's module of the pass.
    """

    def run_node(interpreter: Any, node: Any) -> Any:
        with interpreter._set_current_node(node):
            if rule := module.get_type_promotion_rule(node, interpreter.type_promotion_table):
                interpreter._maybe_promote_node(node, rule)
        if "val" in node.meta:
            return node.meta["val"]
        return super(type(interpreter), interpreter).run_node(node)

    return run_node


def _may_begin_at(rule: Any, node: Any) -> bool:
    """Return False if the rule's first operator is known and differs from the node's."""
    try:
        first = rule._target_pattern.output_nodes[0].op_identifier()  # there is no public name
    except (AttributeError, IndexError):
        return True
    return first is None or first[:2] == (node.domain, node.op_type)


def _forget(rule: Any) -> None:
    """Remove a rule's references to the last graph; it sets them again for the next node."""
    known = vars(getattr(rule, "_matcher", rule))
    known.update({name: None for name in ("_graph", "_match", "_current_node") if name in known})
