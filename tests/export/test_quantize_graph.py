"""int8 products, on ONNX graphs small enough to write by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from ingrain.errors import UnsupportedModelError, VerificationError
from ingrain.export.measured import Floors, Measured
from ingrain.export.quantize import Int8Plan, quantize_columns, write_int8

NUMBERS = np.random.default_rng(7)
WIDE = NUMBERS.normal(size=(32, 96)).astype(np.float32)
NARROW = NUMBERS.normal(size=(96, 32)).astype(np.float32)
OUT = NUMBERS.normal(size=(32, 32)).astype(np.float32)


def write(path: Path, *, opset: int = 20, weights: bool = True) -> Path:
    """Write two products with a Relu between, as in a feed-forward pair, and one more."""
    constants = {"wide": WIDE, "narrow": NARROW, "out": OUT} if weights else {}
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["up"]),
        helper.make_node("Relu", ["up"], ["active"]),
        helper.make_node("MatMul", ["active", "narrow"], ["down"]),
        helper.make_node("Relu", ["down"], ["positive"]),
        helper.make_node("MatMul", ["positive", "out"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", 32])]
    if not weights:
        inputs += [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in {"wide": WIDE, "narrow": NARROW, "out": OUT}.items()
        ]
    graph = helper.make_graph(
        nodes,
        "by_hand",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "tokens", 32])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def products(path: Path) -> list[str]:
    """Return the weights of the float32 products that are left."""
    return [node.input[1] for node in onnx.load(str(path)).graph.node if node.op_type == "MatMul"]


def tokens(batch: int, count: int) -> np.ndarray:
    """Return tokens whose sizes differ a hundredfold and that lie to one side of zero."""
    x = np.random.default_rng(count).normal(loc=0.7, size=(batch, count, 32)) * np.logspace(-1, 1, count)[None, :, None]
    return x.astype(np.float32)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("offset", [False, True])
def test_int8_products_are_near_to_float32_ones_at_either_opset(tmp_path: Path, offset: bool, opset: int) -> None:
    source, target = write(tmp_path / "a.onnx", opset=opset), tmp_path / "b.onnx"
    write_int8(source, target, Int8Plan(offset=offset))
    assert products(target) == []
    x = tokens(4, 9)
    ours, theirs = run(target, x), run(source, x)
    cosines = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert cosines.min() > 0.97
    assert np.median(cosines) > 0.995


@pytest.mark.parametrize("offset", [False, True])
def test_a_token_gives_the_same_numbers_whatever_is_beside_it(tmp_path: Path, offset: bool) -> None:
    """What one scale for the whole batch would break: the neighbour here is a thousand times as large."""
    target = tmp_path / "b.onnx"
    write_int8(write(tmp_path / "a.onnx"), target, Int8Plan(offset=offset))
    x = tokens(1, 5)
    beside = np.concatenate([x, 1000 * x, np.zeros_like(x)])
    np.testing.assert_allclose(run(target, beside)[:1], run(target, x), rtol=1e-6, atol=1e-7)


def test_tokens_of_zeros_give_finite_numbers(tmp_path: Path) -> None:
    target = tmp_path / "b.onnx"
    for offset in (False, True):
        write_int8(write(tmp_path / "a.onnx"), target, Int8Plan(offset=offset))
        assert np.isfinite(run(target, np.zeros((2, 3, 32), np.float32))).all()


def test_kept_products_stay_in_float32(tmp_path: Path) -> None:
    """The narrowing half of a pair, or both halves; the product behind the next one is none of the pair."""
    source, target = write(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    write_int8(source, target, Int8Plan(offset=True, kept="narrowing"))
    assert products(target) == ["narrow"]
    write_int8(source, target, Int8Plan(offset=True, kept="feed_forward"))
    assert products(target) == ["wide", "narrow"]


def test_weights_take_seven_bits_and_a_sign_so_that_no_cpu_saturates() -> None:
    """Two products of neighbours, the largest byte times the largest weight, fit into 16 bits with a sign."""
    weights, scales = quantize_columns(np.array([[1.0, -2.0, 0.0], [0.5, 2.0, 0.0]], np.float32))
    assert weights.tolist() == [[64, -64, 0], [32, 64, 0]]
    np.testing.assert_allclose(weights * scales, [[1.0, -2.0, 0.0], [0.5, 2.0, 0.0]])
    assert 2 * 255 * int(np.abs(weights).max()) < 2**15


def test_the_float32_weights_are_gone_from_the_file(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    write_int8(source, target, Int8Plan(offset=False))
    floats = [tensor for tensor in onnx.load(str(target)).graph.initializer if tensor.data_type == TensorProto.FLOAT]
    assert max(len(numpy_helper.to_array(tensor).ravel()) for tensor in floats) == WIDE.shape[1]
    assert target.stat().st_size < source.stat().st_size


def test_a_graph_without_products_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="no product"):
        write_int8(write(tmp_path / "a.onnx", weights=False), tmp_path / "b.onnx", Int8Plan(offset=False))


@pytest.mark.parametrize(
    ("to_source", "to_itself"),
    [((0.1, 0.89), (0.0, 1.0)), ((0.1, 0.5), (0.0, 1.0)), ((0.1, 0.99), (0.1, 0.9))],
    ids=["mean", "least", "with itself"],
)
def test_each_floor_refuses_alone_and_names_what_was_measured(
    to_source: tuple[float, float], to_itself: tuple[float, float]
) -> None:
    floors = Floors(mean_cosine=0.9, min_cosine=0.6, own_cosine=0.95)
    good = Measured()
    good.add((0.1, 0.95), (0.0, 1.0))
    good.check(1e-4, floors, what="vectors")
    kept = good.verification(tolerance=1e-4, floors=floors)
    assert (kept.mean_cosine, kept.mean_cosine_floor, kept.min_cosine_floor, kept.tolerance) == (0.95, 0.9, 0.6, None)
    bad = Measured()
    bad.add(to_source, to_itself)
    if to_source[1] == 0.5:
        for _ in range(20):
            bad.add((0.0, 1.0), (0.0, 1.0))
    with pytest.raises(VerificationError, match=r"0\.9 \(0\.6; 0\.95\) is the least") as caught:
        bad.check(1e-4, floors, what="vectors")
    assert caught.value.facts["meanCosineFloor"] == 0.9
