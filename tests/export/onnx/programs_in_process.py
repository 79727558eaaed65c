"""What the tests of the exporter's passes run in the process that has torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ingrain.export.onnx.onnx_file import Recipe, write_onnx

SAMPLE = np.arange(1, 33, dtype=np.float32).reshape(4, 8) / 7


def programs() -> dict[str, Any]:
    """Return functions of ``float32 [B, 8]``, by what they contain."""
    import torch

    def replaced(values: Any) -> Any:
        mask = (values > 1) & (values < 3)
        doubled = torch.rsub(values, 2.0).to(torch.float32).to(torch.float64)
        left, right = (
            torch.nn.functional.dropout(doubled, 0.5, training=False).reshape(-1, 2, 4).contiguous().chunk(2, 1)
        )
        least = torch.min(left, right).squeeze(1).to(values.dtype)
        return torch.nn.functional.adaptive_avg_pool1d(torch.where(mask, values, least.repeat(1, 2))[:, None], 4)[:, 0]

    def in_place(values: Any) -> Any:
        scores = values @ values.new_ones(8, 8)
        top = scores.topk(4).values
        top /= top.sum(-1, keepdim=True)
        scores += 2
        scores.mul_(values)
        return torch.cat([scores, top], 1)

    def in_place_of_a_view(values: Any) -> Any:
        scores = values * 2
        scores[:, 2:4] += values[:, :2]
        return scores

    def a_view_of_what_changes_later(values: Any) -> Any:
        scores = values * 2
        first = scores[:, :4]
        scores += 1
        return first + scores[:, 4:]

    return {each.__name__: each for each in (replaced, in_place, in_place_of_a_view, a_view_of_what_changes_later)}


def written(name: str, path: Path) -> tuple[list[Any], list[Any], int, float]:
    """Write a program as ONNX.

    Returns:
        The nodes of our graph and those of torch's own passes; how often torch's own pass ran for ours; and the largest
        difference between our graph's output and the program's, for a batch of another size.
    """
    import onnxruntime
    import torch
    from torch.onnx._internal.exporter import _fx_passes

    compute = programs()[name]

    class Graph(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return compute(*tensors)

    def write(file: Path) -> list[Any]:
        write_onnx(
            Graph().eval(), {"values": SAMPLE}, {"embedding": ("batch",)}, file, Recipe("dynamo", None), ("batch",)
        )
        return nodes(file)

    plain = _fx_passes.decompose_with_registry
    with mock.patch.object(_fx_passes, "decompose_with_registry", side_effect=plain) as counted:
        ours = write(path)
    with mock.patch("ingrain.export.onnx.onnx_file.quick_exporter", torch.no_grad):
        theirs = write(path.with_name("plain.onnx"))
    other = np.concatenate([SAMPLE, SAMPLE[:3] * 3])
    output = onnxruntime.InferenceSession(str(path)).run(None, {"values": other})[0]
    expected = compute(torch.from_numpy(other)).numpy()
    return ours, theirs, counted.call_count, float(np.abs(output - expected).max())


def nodes(path: Path) -> list[Any]:
    """Return a graph's nodes with their attributes and inputs: by number, and constants by their data."""
    import onnx

    model = onnx.load(str(path))
    names: dict[str, Any] = {
        each.name: (each.data_type, tuple(each.dims), onnx.numpy_helper.to_array(each).tobytes())
        for each in model.graph.initializer
    }
    number: Callable[[str], Any] = lambda name: names.setdefault(name, len(names)) if name else None  # noqa: E731
    return [
        (node.op_type, [number(name) for name in node.input],
         sorted(each.SerializeToString() for each in node.attribute), [number(name) for name in node.output])
        for node in model.graph.node
    ]  # fmt: skip
