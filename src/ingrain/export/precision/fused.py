"""Replaces operators of a graph by ONNX Runtime's fused operators."""

from __future__ import annotations

from pathlib import Path

from ingrain.export.onnx.onnx_file import CannotConvert, save_onnx
from ingrain.machine_faults import raise_if_machines


def write_fused(source: Path, target: Path) -> None:
    """Replace attention, normalizations and activations by ONNX Runtime's fused operators.

    With small batches, a GPU spends more time on launching kernels than on computing; fusion leaves a quarter of them.

    Raises:
        CannotConvert: Nothing could be fused.
    """
    import onnx
    import onnx_ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    try:
        model, replaced = optimize_for_ort(onnx_ir.from_proto(onnx.load(str(source))))
    except Exception as error:  # the rewriter raises exceptions of many kinds
        raise_if_machines(error)
        raise CannotConvert(f"{type(error).__name__}: {error}") from error
    if not any(replaced.values()):
        raise CannotConvert("it has nothing that could be fused")
    save_onnx(onnx_ir.to_proto(model), target)
