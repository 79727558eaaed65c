"""A graph whose operators run on real tokens only gives what the graph as exported gives, with less to compute."""

from collections.abc import Callable
from pathlib import Path

import export_in_process as in_process
import numpy as np
import onnx
import onnxruntime
import pytest

from graphs import write_text_graph
from ingrain.errors import VerificationError
from ingrain.export.onnx.onnx_file import CannotConvert
from ingrain.export.onnx.packed_tokens import try_packed, write_packed

LENGTHS = ([5], [1, 9, 30, 2], [40, 3, 17], [6, 6, 6], [1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BERT", "ModernBERT", "DeBERTa-v2", "Qwen3"])
def test_packed_graphs_give_the_same_vectors(
    exported: Callable[[str], in_process.Exported], tmp_path: Path, name: str
) -> None:
    """With texts of many lengths, padded on either side; all products with weights run on real tokens."""
    done = exported(name)
    source = done.output / done.manifest.graphs[0].name / "1" / "model.onnx"
    write_packed(source, tmp_path / "packed.onnx")
    plain, packed = _open(source), _open(tmp_path / "packed.onnx")
    for lengths in LENGTHS:
        for on_the_left in (False, True):
            inputs = _inputs(plain, lengths, on_the_left=on_the_left)
            np.testing.assert_allclose(packed.run(None, inputs)[0], plain.run(None, inputs)[0], atol=1e-6)


@pytest.mark.slow
def test_products_run_on_real_tokens_only(exported: Callable[[str], in_process.Exported], tmp_path: Path) -> None:
    done = exported("BERT")
    write_packed(done.output / done.manifest.graphs[0].name / "1" / "model.onnx", tmp_path / "packed.onnx")
    model = onnx.load(str(tmp_path / "packed.onnx"))
    weights = {tensor.name for tensor in model.graph.initializer}
    products = [node.output[0] for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    assert len(products) == 12
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in products)
    onnx.save(model, str(tmp_path / "shown.onnx"))
    session = _open(tmp_path / "shown.onnx")
    rows = session.run(products, _inputs(session, [1, 9, 30, 2], on_the_left=False))
    assert {value.shape[0] for value in rows} == {42}


def test_a_graph_with_nothing_to_gain_is_left_as_it_is(tmp_path: Path) -> None:
    write_text_graph(tmp_path / "model.onnx")
    with pytest.raises(CannotConvert, match="too many"):
        write_packed(tmp_path / "model.onnx", tmp_path / "packed.onnx")
    assert try_packed(tmp_path / "model.onnx", lambda _: "proved", what="It") is None


@pytest.mark.parametrize("external", [False, True])
def test_a_packed_graph_is_published_only_if_it_is_proved(tmp_path: Path, external: bool) -> None:
    """Also with its weights in a file of their own, which both forms share."""
    path = tmp_path / "model.onnx"
    _write_feed_forward(path, external=external)
    as_exported = path.read_bytes()

    def refuse(session: onnxruntime.InferenceSession) -> None:
        raise VerificationError("It differs.")

    assert try_packed(path, refuse, what="It") is None
    assert path.read_bytes() == as_exported
    plain = _open(path)
    assert try_packed(path, lambda session: "proved", what="It") == "proved"
    assert path.read_bytes() != as_exported
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"][: 1 + external]
    # A text without tokens, also alone, is computed as one with a token that the mask leaves out.
    for lengths in ([3, 1, 5], [0], [0, 2]):
        inputs = _inputs(plain, lengths, on_the_left=False)
        np.testing.assert_allclose(_open(path).run(None, inputs)[0], plain.run(None, inputs)[0], atol=1e-6)


def _write_feed_forward(path: Path, *, external: bool) -> None:
    """Write the text graph with products, and the shapes of its values, as torch's exporter does."""
    write_text_graph(path, products=True)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    onnx.save(model, str(path), save_as_external_data=external, location=f"{path.name}.data")


def _open(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _inputs(session: onnxruntime.InferenceSession, lengths: list[int], *, on_the_left: bool) -> dict[str, np.ndarray]:
    longest = max(1, *lengths)
    places = np.arange(longest)[None, :]
    sizes = np.array(lengths)[:, None]
    mask = (places >= longest - sizes if on_the_left else places < sizes).astype(np.int64)
    ids = np.random.default_rng(0).integers(5, 60, mask.shape) * mask
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
    return {value.name: arrays[value.name] for value in session.get_inputs()}
