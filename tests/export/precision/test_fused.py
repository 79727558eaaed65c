"""Fused graphs, which a GPU runs faster, compute what the graphs they are made of compute; here on the CPU."""

from collections.abc import Callable
from pathlib import Path

import export_in_process as in_process
import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession

import graphs
from ingrain.export.onnx.onnx_file import CannotConvert
from ingrain.export.precision.fused import write_fused

pytestmark = pytest.mark.slow

Export = Callable[[str], in_process.Exported]


def run(path: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return session.run(None, {value.name: arrays[value.name] for value in session.get_inputs()})[0]


@pytest.mark.parametrize("outside", [False, True], ids=["one file", "weights beside it"])
def test_a_fused_graph_computes_the_same(
    exported: Export, exported_with_weights_outside: Export, tmp_path: Path, outside: bool
) -> None:
    """Padded rows and full ones; of weights that lie beside the graph, too."""
    done = (exported_with_weights_outside if outside else exported)("BERT")
    plain = done.output / done.manifest.graphs[0].name / "1" / "model.onnx"
    fused = tmp_path / "fused.onnx"
    write_fused(plain, fused)
    nodes = onnx.load(str(fused), load_external_data=False).graph.node
    assert {node.op_type for node in nodes if node.domain == "com.microsoft"} >= {"Attention", "SkipLayerNormalization"}
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(5, 50, (5, 17)), np.ones((5, 17), np.int64)
    mask[1, 3:] = mask[4, 9:] = 0
    assert np.abs(run(fused, ids, mask) - run(plain, ids, mask)).max() < 1e-5


def test_a_graph_without_anything_to_fuse_is_said_to_be_so(tmp_path: Path) -> None:
    graphs.write_text_graph(tmp_path / "model.onnx")
    with pytest.raises(CannotConvert, match="nothing that could be fused"):
        write_fused(tmp_path / "model.onnx", tmp_path / "fused.onnx")
