"""Converts a float32 graph to half precision; its inputs and outputs stay as they are."""

from __future__ import annotations

from pathlib import Path

from ingrain.export.onnx.onnx_file import save_onnx


def write_float16(source: Path, target: Path) -> None:
    """Convert a graph; what half precision cannot hold or compute stays float32, with casts around it."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Shapes are not needed to know which values are floats; inferring them would double the memory of large graphs.
    model = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True, disable_shape_infer=True)
    save_onnx(model, target)
