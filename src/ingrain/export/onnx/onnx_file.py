"""Exports torch modules to ONNX files with named dynamic axes, and opens them in ONNX Runtime."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ingrain.errors import ExportError
from ingrain.export.onnx.graph_writer import opset_of
from ingrain.export.onnx.quick_exporter import quick_exporter
from ingrain.machine_faults import raise_if_machines
from ingrain.python_backend import cuda
from ingrain.repository.manifest import Tensor
from ingrain.vocabulary import DType, Precision

# Larger weights are stored in a separate file. A protobuf holds at most 2 GiB, and writing one needs three times its
# size: for 1.6 GB of weights, 10 GiB of memory instead of 5.
EXTERNAL_DATA_BYTES = 500_000_000
# The newest versions that Triton's onnxruntime backend reads in the supported containers.
MAX_OPSET, MAX_IR_VERSION = 21, 10
_LEGACY_OPSET = 17
_DTYPES: dict[str, DType] = {
    "tensor(float)": "FP32",
    "tensor(float16)": "FP16",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
    "tensor(uint8)": "UINT8",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to export.

    Attributes:
        exporter: ``dynamo`` (torch.export) or ``torchscript`` (the deprecated tracer).
        attention: Attention implementation to switch the network to; None for networks without a choice.
    """

    exporter: Literal["dynamo", "torchscript"]
    attention: str | None

    def __str__(self) -> str:
        return self.exporter if self.attention is None else f"{self.exporter}, {self.attention}"


class CannotConvert(Exception):  # noqa: N818  # always caught within the export package
    """An exporter failed on the module, or wrote an unusable file."""


def write_onnx(
    graph: Any,
    arrays: dict[str, np.ndarray[Any, Any]],
    outputs: Mapping[str, Sequence[str]],
    path: Path,
    recipe: Recipe,
    axes: Sequence[str],
) -> None:
    """Export a torch module.

    Args:
        graph: The module; takes the tensors in the order of ``arrays``.
        arrays: Sample inputs by name.
        outputs: Names of the outputs in order, each with the names of its leading axes, all dynamic.
        path: File to write; weights above 500 MB go to ``<path>.data``.
        recipe: The exporter to use.
        axes: Names of the leading axes of every input, all dynamic.

    Raises:
        CannotConvert: The exporter failed.
    """
    import torch

    tensors = tuple(torch.from_numpy(array) for array in arrays.values())
    dynamic = tuple(dict(enumerate(axes)) for _ in tensors)
    external = sum(p.numel() * p.element_size() for p in graph.parameters()) > EXTERNAL_DATA_BYTES
    try:
        with torch.no_grad(), quick_exporter():
            if recipe.exporter == "dynamo":
                # forward() takes *args, so the shapes are nested one level deeper.
                program = torch.onnx.export(
                    graph, tensors, dynamo=True, dynamic_shapes=(dynamic,), input_names=list(arrays),
                    output_names=list(outputs), verbose=False,
                )  # fmt: skip
                _strip(program.model)
                for output in outputs:
                    _make_unique(program.model, output)
                program.save(str(path), external_data=external)
            else:
                torch.onnx.export(
                    graph, tensors, str(path), dynamo=False, opset_version=_LEGACY_OPSET, input_names=list(arrays),
                    output_names=list(outputs),
                    dynamic_axes={
                        **{name: dict(enumerate(axes)) for name in arrays},
                        **{name: dict(enumerate(named)) for name, named in outputs.items()},
                    },
                )  # fmt: skip
                _strip_file(path, external)
    except Exception as error:  # torch's exporters raise exceptions of many kinds
        raise_if_machines(error)
        raise CannotConvert(f"{type(error).__name__}: {error}") from error
    finally:
        gc.collect()
    _check_file(path)


def save_onnx(model: Any, path: Path) -> None:
    """Write a model; weights above 500 MB go to ``<path>.data``."""
    import onnx

    external = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > EXTERNAL_DATA_BYTES
    onnx.save(model, str(path), save_as_external_data=external, location=f"{path.name}.data")


def replace_graph(path: Path, folder: Path) -> None:
    """Replace a graph's files by those of a folder. The file names stay the same: a graph names its external data.

    Args:
        path: The graph's file.
        folder: Folder of the new files; empty afterwards.
    """
    for old in path.parent.iterdir():
        if old.is_file():
            old.unlink()
    for new in folder.iterdir():
        new.rename(path.parent / new.name)


def open_session(path: Path, threads: int = 0, *, precision: Precision = "fp32", on_gpu: bool = False) -> Any:
    """Open an ONNX file as the engines do.

    Args:
        path: The file.
        threads: Intra-op threads; 0 for all cores.
        precision: The graph's precision.
        on_gpu: True: run on this machine's first GPU.

    Raises:
        CannotConvert: ONNX Runtime refuses the file.
        ExportError: ONNX Runtime cannot use the GPU.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if precision == "fp16" and not on_gpu:
        # On a CPU, ONNX Runtime fuses some half-precision nodes into operators without a kernel, and crashes on others
        # (microsoft/onnxruntime#32186, #32405). GPUs are not affected.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        if on_gpu:
            return cuda.open_session(path, options)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except cuda.GpuUnusableError as error:
        raise ExportError(str(error)) from error
    except Exception as error:  # onnxruntime's exceptions have no other common base
        raise_if_machines(error)
        raise CannotConvert(f"{type(error).__name__}: {error}") from error


def describe_inputs(session: Any, axes: Sequence[str]) -> tuple[Tensor, ...]:
    """Return a session's inputs, with -1 for dynamic axes.

    Args:
        session: An ``onnxruntime.InferenceSession``.
        axes: Names of the leading axes of every input, all dynamic.

    Raises:
        CannotConvert: An axis that must be dynamic has a fixed size.
    """
    inputs = tuple(_describe(value) for value in session.get_inputs())
    for value in inputs:
        if value.shape[: len(axes)] != (-1,) * len(axes):
            raise CannotConvert(f"the input {value.name} has the fixed shape {value.shape}")
    return inputs


def describe_outputs(
    session: Any, row_shape: tuple[int, ...], names: Sequence[str] | None = None
) -> tuple[Tensor, ...]:
    """Return a session's outputs of some names, or all, with the measured shape of a row; -1 is dynamic.

    Raises:
        ExportError: The graph declares another width.
    """
    outputs = tuple(_describe(value) for value in session.get_outputs() if names is None or value.name in names)
    if any(value.shape[-1] not in (-1, row_shape[-1]) for value in outputs):
        raise ExportError("The graph's output declares another width than its vectors have.")
    return tuple(Tensor(value.name, value.dtype, (-1, *row_shape)) for value in outputs)


def _describe(value: Any) -> Tensor:
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in value.shape)
    return Tensor(name=value.name, dtype=_DTYPES[value.type], shape=shape)


def _strip(model: Any) -> None:
    """Remove the exporter's notes about its run (stack traces, paths), so that equal models give equal files."""
    model.metadata_props.clear()
    model.doc_string = None
    graphs = [model.graph, *model.functions.values()]
    for graph in graphs:
        graph.metadata_props.clear()
        graph.doc_string = None
        for node in graph.all_nodes() if hasattr(graph, "all_nodes") else graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _make_unique(model: Any, output: str) -> None:
    """Rename inner values and weights to which the exporter gave the name of the output."""
    taken = {id(value) for value in model.graph.outputs}
    computed = (value for node in model.graph.all_nodes() for value in node.outputs)
    inside = [*model.graph.initializers.values(), *computed]
    clashing = [value for value in inside if value.name == output and id(value) not in taken]
    for number, value in enumerate(clashing):
        value.name = f"{output}_inside_{number}" if number else f"{output}_inside"


def _strip_file(path: Path, external: bool) -> None:
    """Remove the notes of the older exporter from a file."""
    import onnx

    model = onnx.load(str(path))
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.save(model, str(path), save_as_external_data=external, location=f"{path.name}.data")


def _check_file(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise CannotConvert(f"the file is not valid ONNX: {error}") from error
    model = onnx.load(str(path), load_external_data=False)
    opset = opset_of(model)
    if opset > MAX_OPSET or model.ir_version > MAX_IR_VERSION:
        raise CannotConvert(f"opset {opset} or IR {model.ir_version} is newer than {MAX_OPSET} and {MAX_IR_VERSION}")
