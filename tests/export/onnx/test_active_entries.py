"""A graph of whole sparse rows becomes one of their entries that are not zero."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ingrain.export.onnx.active_entries import choose_active_entries
from ingrain.export.onnx.onnx_file import open_session

ROWS = np.array([[0, 3, 0, -1, 0, 0], [0, 0, 0, 0, 0, 0], [1, 2, 3, 0, 0, 4]], np.float32)


@pytest.fixture
def rewritten(tmp_path):
    """Return a function that runs rows through a graph that gives them back, rewritten."""

    def run(rows, *, limit=None, opset=18):
        shape = ["batch", rows.shape[1]]
        graph = helper.make_graph(
            [helper.make_node("Identity", ["rows"], ["weights"])],
            "rows",
            [helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("weights", TensorProto.FLOAT, shape)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        path = tmp_path / "model.onnx"
        onnx.save(model, str(path))
        choose_active_entries(path, "weights", limit)
        onnx.checker.check_model(str(path))
        session = open_session(path, 1)
        assert [value.name for value in session.get_outputs()] == ["values", "indices"]
        return session.run(None, {"rows": rows})

    return run


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_a_batch_is_as_wide_as_its_row_with_the_most_entries(rewritten, opset):
    values, indices = rewritten(ROWS, opset=opset)
    assert values.shape == indices.shape == (3, 4)
    assert (indices.dtype, values.dtype) == (np.int32, np.float32)
    whole = np.zeros_like(ROWS)
    np.put_along_axis(whole, indices.astype(np.int64), values, axis=1)
    np.testing.assert_array_equal(whole, ROWS)
    assert (np.diff(indices, axis=1) > 0).all()


def test_a_limit_keeps_the_entries_of_largest_size(rewritten):
    values, indices = rewritten(ROWS, limit=2)
    assert indices[2].tolist() == [2, 5]
    assert values[2].tolist() == [3, 4]
    assert values[0].tolist() == [3, -1]


def test_a_batch_without_entries_has_one_column(rewritten):
    values, indices = rewritten(ROWS[1:2])
    assert values.tolist() == [[0]]
    assert indices.shape == (1, 1)


def test_what_is_not_a_number_is_not_lost(rewritten):
    values, _ = rewritten(np.full((1, 6), np.nan, np.float32))
    assert np.isnan(values).all()
