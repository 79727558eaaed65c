"""int8 products, on ONNX graphs small enough to write by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from ingrain.errors import UnsupportedModelError, VerificationError
from ingrain.export.onnx.onnx_file import CannotConvert
from ingrain.export.precision.equalize import Range
from ingrain.export.precision.quantize import Int8Plan, quantize_columns, write_int8
from ingrain.export.precision.ranges import measure_ranges
from ingrain.export.proof.deviation import Deviation, Difference, Floors, Tolerance

NUMBERS = np.random.default_rng(7)
WIDE = NUMBERS.normal(size=(32, 96)).astype(np.float32)
LARGE = [3, 17]
WIDE[LARGE] /= 30  # they meet the columns that are far larger than the others, as in trained models
NARROW = NUMBERS.normal(size=(96, 32)).astype(np.float32)
OUT = NUMBERS.normal(size=(32, 32)).astype(np.float32)
BIAS = NUMBERS.normal(size=96).astype(np.float32)
FIXED = Int8Plan(offset=False, fixed="wide")


def write(path: Path, *, opset: int = 20, weights: bool = True, bias: tuple[str, str] | None = None) -> Path:
    """Write two products with a Relu between, as in a feed-forward pair, and one more.

    ``bias`` is what the first product is added to, in this order: ``up`` is the product.
    """
    constants = {"wide": WIDE, "narrow": NARROW, "out": OUT} if weights else {}
    add = [helper.make_node("Add", list(bias), ["summed"])] if bias else []
    if bias:
        constants["bias"] = BIAS
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["up"]),
        *add,
        helper.make_node("Relu", ["summed" if bias else "up"], ["active"]),
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


def write_graph(
    path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], outputs: list[str], width: int | None
) -> None:
    """Write a graph of an input ``x`` of 32 columns, whose outputs have ``width`` or any."""
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", 32])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "tokens", width]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8), path)


def write_fixed(tmp_path: Path, sample: np.ndarray, **graph: object) -> tuple[Path, Path]:
    """Return a graph and the same in int8 with scales from a sample."""
    source, target = write(tmp_path / "a.onnx", **graph), tmp_path / "b.onnx"
    write_int8(source, target, FIXED, measure_ranges(source, [{"x": part} for part in np.split(sample, len(sample))]))
    return source, target


def cosines_of(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)


def normal_tokens(seed: int) -> np.ndarray:
    """Return tokens as a normalization leaves them: of one size, with two columns far larger than the others."""
    x = np.random.default_rng(seed).normal(size=(8, 9, 32))
    x[..., LARGE] *= 30
    return x.astype(np.float32)


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
    cosines = cosines_of(run(target, x), run(source, x))
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


@pytest.mark.parametrize("opset", [17, 20])
def test_fixed_scales_are_near_to_float32_though_two_columns_are_far_larger(tmp_path: Path, opset: int) -> None:
    """On tokens that the sample did not hold. One scale for columns as they are would leave most of them 4 steps."""
    source, target = write_fixed(tmp_path, normal_tokens(1), opset=opset)
    assert products(target) == []
    x = normal_tokens(2)
    cosines = cosines_of(run(target, x), run(source, x))
    assert cosines.min() > 0.995
    assert cosines.mean() > 0.998
    by_token = tmp_path / "c.onnx"
    write_int8(source, by_token, Int8Plan(offset=False))
    assert cosines.mean() > cosines_of(run(by_token, x), run(source, x)).mean()


def test_fixed_scales_do_not_depend_on_what_is_beside_a_token(tmp_path: Path) -> None:
    _, target = write_fixed(tmp_path, normal_tokens(1))
    x = normal_tokens(2)[:1]
    beside = np.concatenate([x, 1000 * x, np.zeros_like(x)])
    np.testing.assert_allclose(run(target, beside)[:1], run(target, x), rtol=1e-6, atol=1e-6)


def test_only_what_narrowing_products_take_has_a_scale_for_each_token(tmp_path: Path) -> None:
    """And where it reaches above zero alone, no absolute values are taken: its largest element tells the scale."""
    _, target = write_fixed(tmp_path, normal_tokens(1))
    kinds = [node.op_type for node in onnx.load(str(target)).graph.node]
    assert (kinds.count("MatMulIntegerToFloat"), kinds.count("QuantizeLinear")) == (3, 3)
    assert (kinds.count("ReduceMax"), kinds.count("Abs")) == (1, 0)


def test_where_all_values_have_one_scale_nothing_is_measured_while_texts_are_served(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    ranges = measure_ranges(source, [{"x": normal_tokens(1)}])
    write_int8(source, target, Int8Plan(offset=False, fixed="all"), ranges)
    kinds = [node.op_type for node in onnx.load(str(target)).graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("ReduceMax"), kinds.count("Mul")) == (3, 0, 2)
    x = normal_tokens(2)
    assert cosines_of(run(target, x), run(source, x)).min() > 0.99
    beside = np.concatenate([x[:1], 1000 * x[:1]])
    np.testing.assert_allclose(run(target, beside)[:1], run(target, x[:1]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bias", [("up", "bias"), ("bias", "up")])
def test_a_bias_is_added_by_the_product(tmp_path: Path, bias: tuple[str, str]) -> None:
    source, target = write_fixed(tmp_path, normal_tokens(1), bias=bias)
    assert "Add" not in [node.op_type for node in onnx.load(str(target)).graph.node]
    x = normal_tokens(2)
    assert cosines_of(run(target, x), run(source, x)).min() > 0.995


@pytest.mark.parametrize("why", ["itself", "one number", "a row for each token", "read twice", "put out"])
def test_what_is_added_stays_where_it_is_no_bias_or_somebody_else_reads_the_product(tmp_path: Path, why: str) -> None:
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    added = {"one number": BIAS[:1, None], "a row for each token": np.tile(BIAS, (9, 1))}.get(why, BIAS)
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["up"]),
        helper.make_node("Add", ["up", "up" if why == "itself" else "added"], ["summed"]),
        helper.make_node("Mul", ["summed", "up"] if why == "read twice" else ["summed", "summed"], ["y"]),
    ]
    outputs = ["y", "up"] if why == "put out" else ["y"]
    write_graph(source, nodes, {"wide": WIDE, "added": added}, outputs, width=96)
    write_int8(source, target, FIXED, measure_ranges(source, [{"x": normal_tokens(1)}]))
    assert [node.op_type for node in onnx.load(str(target)).graph.node].count("Add") == 1
    x = normal_tokens(2)
    assert cosines_of(run(target, x), run(source, x)).min() > 0.98


def test_a_value_that_wide_and_narrow_products_take_is_rounded_once_with_one_scale(tmp_path: Path) -> None:
    """As in attention with fewer keys than queries: what makes keys is narrow, and its input is a normalization's."""
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    out, keys = OUT.copy(), OUT[:, :8].copy()
    for matrix in (out, keys):
        matrix[LARGE] /= 30
    nodes = [
        helper.make_node("MatMul", ["x", "out"], ["y"]),
        helper.make_node("MatMul", ["x", "keys"], ["k"]),
    ]
    write_graph(source, nodes, {"out": out, "keys": keys}, ["k", "y"], width=None)
    write_int8(source, target, FIXED, measure_ranges(source, [{"x": normal_tokens(1)}]))
    kinds = [node.op_type for node in onnx.load(str(target)).graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("ReduceMax")) == (1, 0)
    x = normal_tokens(2)
    assert cosines_of(run(target, x), run(source, x)).min() > 0.995


def test_what_gelu_leaves_below_zero_is_kept_in_large_and_in_small_tokens(tmp_path: Path) -> None:
    """Its lowest is -0.17; where a token's largest element is small, that is what its steps have to reach."""
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    nodes = [helper.make_node("Gelu", ["x"], ["active"]), helper.make_node("MatMul", ["active", "narrow"], ["y"])]
    write_graph(source, nodes, {"narrow": NARROW[:32, :8]}, ["y"], width=8)
    sizes = np.array([10.0, 3, 1, 0.3], np.float32)[None, :, None]
    x = np.random.default_rng(3).normal(size=(64, 4, 32)).astype(np.float32) * sizes - sizes / 2
    write_int8(source, target, FIXED, measure_ranges(source, [{"x": x}]))
    assert "Abs" not in [node.op_type for node in onnx.load(str(target)).graph.node]
    ours, theirs = run(target, x), run(source, x)
    off = np.abs(ours - theirs).max((0, 2)) / np.abs(theirs).max((0, 2))
    assert off.max() < 0.03, off


def test_ranges_are_those_of_columns_over_all_of_the_sample(tmp_path: Path) -> None:
    sample = normal_tokens(1)
    ranges = measure_ranges(write(tmp_path / "a.onnx"), [{"x": sample[:3]}, {"x": sample[3:]}])
    assert list(ranges) == ["x", "active", "positive"]
    np.testing.assert_array_equal(ranges["x"].least, sample.min((0, 1)))
    np.testing.assert_array_equal(ranges["x"].most, sample.max((0, 1)))
    assert ranges["active"].least.shape == (96,)
    assert (ranges["active"].least == 0).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


def test_ranges_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotConvert, match="not finite"):
        measure_ranges(write(tmp_path / "a.onnx"), [])


def test_weights_that_two_products_share_get_factors_that_suit_both(tmp_path: Path) -> None:
    """As in ALBERT, whose layers are all one: its weights are kept once, and their inputs have ranges of their own."""
    path, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    out = OUT.copy()
    out[LARGE] /= 30
    nodes = [
        helper.make_node("MatMul", ["x", "out"], ["once"]),
        helper.make_node("MatMul", ["once", "out"], ["y"]),
    ]
    write_graph(path, nodes, {"out": out}, ["y"], width=32)
    write_int8(path, target, FIXED, measure_ranges(path, [{"x": normal_tokens(1)}]))
    matrices = [tensor for tensor in onnx.load(str(target)).graph.initializer if tensor.dims == [32, 32]]
    assert len(matrices) == 1
    x = normal_tokens(2)
    assert cosines_of(run(target, x), run(path, x)).min() > 0.99


def test_steps_reach_from_end_to_end_and_hit_zero() -> None:
    ends = np.array([-1.0, 3.0], np.float32)
    for least, most in ((ends[:1], ends[1:]), (ends[1:], ends[1:] + 1), (ends[:1] - 1, ends[:1]), (ends * 0, ends * 0)):
        step, zero = Range(least, most).steps()
        reached = step * (np.array([0, 255]) - np.float32(zero))
        assert reached[0] <= min(least.min(), 0) + step / 2
        assert reached[1] >= max(most.max(), 0) - step / 2


def test_factors_bring_columns_nearer_to_each_other_and_are_always_usable() -> None:
    sizes = np.array([0.0, 0.1, 1.0, 50.0], np.float32)
    seen, weights = Range(-sizes, sizes / 2), np.array([[1.0, 2], [0, 0], [3, 4], [1, 1]], np.float32)
    factors = seen.factors([weights])
    assert np.isfinite(factors).all()
    assert (factors > 0).all()
    left = -seen.divided(factors).least
    assert left[3] / left[2] < sizes[3] / sizes[2] / 5
    assert (Range(sizes * 0, sizes * 0).factors([weights * 0]) == 1).all()


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
    with pytest.raises(UnsupportedModelError, match="no matrix product"):
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
    good = Deviation()
    good.add(Difference(0.1, 0.95), Difference(0.0, 1.0))
    good.check(Tolerance(absolute=1e-4), floors, what="vectors")
    kept = good.verification(tolerance=Tolerance(absolute=1e-4), floors=floors)
    assert (kept.mean_cosine, kept.mean_cosine_floor, kept.min_cosine_floor, kept.tolerance) == (0.95, 0.9, 0.6, None)
    bad = Deviation()
    bad.add(Difference(*to_source), Difference(*to_itself))
    if to_source[1] == 0.5:
        for _ in range(20):
            bad.add(Difference(0.0, 1.0), Difference(0.0, 1.0))
    with pytest.raises(VerificationError, match=r"0\.9 \(0\.6; 0\.95\) is required") as caught:
        bad.check(Tolerance(absolute=1e-4), floors, what="vectors")
    assert caught.value.facts["meanCosineFloor"] == 0.9
