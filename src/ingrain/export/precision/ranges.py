"""Measures the ranges of the values that a graph multiplies with weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.export.onnx.graph_writer import opset_of
from ingrain.export.onnx.onnx_file import CannotConvert, open_session, save_onnx
from ingrain.export.precision.calibration_texts import calibration_texts
from ingrain.export.precision.equalize import Range
from ingrain.export.precision.quantize import products_with_weights
from ingrain.export.process.threads import export_threads
from ingrain.machine_faults import raise_if_machines
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText, collate

Arrays = dict[str, NDArray[np.int64]]

_EVERY = 4
_TEXTS_IN_A_PASSAGE, _PASSAGES = 16, 8
_BATCH = 16


def measure_ranges(path: Path, batches: Iterable[Arrays]) -> dict[str, Range]:
    """Run a graph, and return the column ranges of each value that is multiplied with weights.

    Args:
        path: A float32 ONNX file, with external data if it has any.
        batches: Inputs to run; without padding, because the values of padding would count too.

    Raises:
        CannotConvert: ONNX Runtime refuses the graph, there are no batches, or a value is not finite.
    """
    import onnx

    model = onnx.load(str(path))
    widths = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 2}
    values = {node.input[0]: widths[node.input[1]] for node in products_with_weights(model.graph)}
    _output_ranges(model, values)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        save_onnx(model, Path(folder) / path.name)
        del model
        session = open_session(Path(folder) / path.name, export_threads())
    least = [np.full(width, np.inf, np.float32) for width in values.values()]
    most = [np.full(width, -np.inf, np.float32) for width in values.values()]
    for arrays in batches:
        try:
            found = session.run(None, arrays)
        except Exception as error:  # onnxruntime's exceptions have no other common base
            raise_if_machines(error)
            raise CannotConvert(f"{type(error).__name__}: {error}") from error
        least = [np.minimum(*pair) for pair in zip(least, found[0::2], strict=True)]
        most = [np.maximum(*pair) for pair in zip(most, found[1::2], strict=True)]
    if not all(np.isfinite(ends).all() for ends in (*least, *most)):
        raise CannotConvert("the ranges of its values are not finite")
    return {value: Range(*ends) for value, *ends in zip(values, least, most, strict=True)}


def _output_ranges(model: Any, values: dict[str, int]) -> None:
    """Replace a graph's outputs by the column minima and maxima of values, given by name with their widths."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    opset = opset_of(model)
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "ranges_first_axis"))
    graph.ClearField("output")
    for number, (value, width) in enumerate(values.items()):
        shape, rows = f"ranges_shape_{number}", f"ranges_rows_{number}"
        graph.initializer.append(numpy_helper.from_array(np.array([-1, width], np.int64), shape))
        graph.node.append(helper.make_node("Reshape", [value, shape], [rows]))
        for kind in ("ReduceMin", "ReduceMax"):
            name = f"ranges_{kind}_{number}"
            if opset >= 18:
                node = helper.make_node(kind, [rows, "ranges_first_axis"], [name], keepdims=0)
            else:
                node = helper.make_node(kind, [rows], [name], keepdims=0, axes=[0])
            graph.node.append(node)
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [width]))


def sample_batches(
    preprocessor: TextPreprocessor, inputs: Iterable[str], report: Callable[[int, int], None]
) -> Iterator[Arrays]:
    """Return short texts and passages of the calibration sample in batches of texts with equal lengths.

    So there is no padding, except for models that take only one length.
    """
    texts = calibration_texts()
    passages = [" ".join(texts[start :: len(texts) // _TEXTS_IN_A_PASSAGE]) for start in range(_PASSAGES)]
    return batches_of_equal_length(preprocessor.encode([*texts[::_EVERY], *passages]), preprocessor, inputs, report)


def batches_of_equal_length(
    sample: Iterable[TokenizedText],
    preprocessor: TextPreprocessor,
    inputs: Iterable[str],
    report: Callable[[int, int], None],
) -> Iterator[Arrays]:
    """Yield the items of a sample in batches of equal lengths."""
    items = sorted(filter(len, sample), key=len)
    names, done = list(inputs), 0
    for _, same in groupby(items, key=len):
        batch = list(same)
        for start in range(0, len(batch), _BATCH):
            report(done, len(items))
            part = batch[start : start + _BATCH]
            yield collate(part, preprocessor.config, names)
            done += len(part)
