"""Converts a float32 graph to half precision; the types of inputs and outputs stay the same."""

from __future__ import annotations

from pathlib import Path

from ingrain.export.onnx.onnx_file import save_onnx


def write_float16(source: Path, target: Path) -> None:
    """Convert a graph. Operators and values that half precision does not support stay float32, with casts."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # The conversion does not need shapes, and inferring them would double the memory of large graphs.
    model = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True, disable_shape_infer=True)
    save_onnx(model, target)
