"""Replaces operators of a graph by the fused ones of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from ingrain.export.onnx.onnx_file import CannotConvert, save_onnx
from ingrain.machine_faults import raise_if_machines


def write_fused(source: Path, target: Path) -> None:
    """Replace attention, normalizations and activations by the operators that ONNX Runtime has for them.

    While batches are small a GPU waits for its next kernel more than it computes, and then there are a quarter as many.

    Raises:
        CannotConvert: Nothing was found that could be replaced.
    """
    import onnx
    import onnx_ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    try:
        model, replaced = optimize_for_ort(onnx_ir.from_proto(onnx.load(str(source))))
    except Exception as error:  # the rewriter raises whatever a graph makes it stumble over
        raise_if_machines(error)
        raise CannotConvert(f"{type(error).__name__}: {error}") from error
    if not any(replaced.values()):
        raise CannotConvert("it has nothing that could be fused")
    save_onnx(onnx_ir.to_proto(model), target)
