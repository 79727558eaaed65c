"""Makes torch's ONNX exporter faster, and has it let go of memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


@contextmanager
def quick_exporter() -> Iterator[None]:
    """Have the exporter of torch write the same graph in less time, while the context is open.

    The optimizer asks each of its rules about each node, and a rule with two outputs lists the whole graph before it
    looks at the node: a tower of 24 layers took as long to optimise as to trace. And each export parses the source of
    a thousand functions, which do not change. Nor do the rules, which are there once for all exports, keep the last
    graph with its weights, so that the next tower would come on top of the whole model before it. All this goes by
    names that are not public: where another version has others, the exporter is left as it is.
    """
    try:
        from onnxscript.rewriter import RewriteRule
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        plain, read = RewriteRule.try_rewrite, ONNXRegistry.from_torchlib
    except (ImportError, AttributeError):
        yield
        return

    def try_rewrite(rule: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        if not _may_begin_at(rule, node):
            return None
        try:
            return plain(rule, model, graph, node, **options)
        finally:
            _forget(rule)

    with (
        mock.patch.object(RewriteRule, "try_rewrite", try_rewrite),
        mock.patch.object(ONNXRegistry, "from_torchlib", _functions(read)),
    ):
        yield


@functools.cache
def _functions(read: Any) -> Any:
    """Return ``read`` with a memory; only custom functions are ever added to what it returns, and there are none."""
    return staticmethod(functools.cache(read))  # it is called on an instance, which it does not need


def _may_begin_at(rule: Any, node: Any) -> bool:
    """Return False where the rule's first operator is known and is another."""
    try:
        first = rule._target_pattern.output_nodes[0].op_identifier()  # there is no public name for it
    except (AttributeError, IndexError):
        return True
    return first is None or first[:2] == (node.domain, node.op_type)


def _forget(rule: Any) -> None:
    """Take from a rule what it has looked at; it starts anew with the next node."""
    known = vars(getattr(rule, "_matcher", rule))
    known.update({name: None for name in ("_graph", "_match", "_current_node") if name in known})
