"""What goes to Triton and comes from it, byte for byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2

from ingrain.engine.triton.wire import decode_infer, encode_infer

DTYPES = {"UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16, "FP32": np.float32}


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=9),
        st.sampled_from(list(DTYPES.values())).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, min_side=0, max_side=9))
        ),
        max_size=4,
    )
)
def test_request_is_what_protobuf_itself_would_write(inputs):
    request = service_pb2.ModelInferRequest.FromString(encode_infer("graph", inputs))
    assert request.model_name == "graph"
    assert [tensor.name for tensor in request.inputs] == list(inputs)
    for tensor, content, array in zip(request.inputs, request.raw_input_contents, inputs.values(), strict=True):
        assert DTYPES[tensor.datatype] == array.dtype
        assert tuple(tensor.shape) == array.shape
        assert content == array.tobytes()


def test_only_a_lone_batch_is_said_to_be_alone():
    inputs = {"x": np.zeros((1, 2), np.int64)}
    alone, other = (
        service_pb2.ModelInferRequest.FromString(encode_infer("graph", inputs, alone=alone)) for alone in (True, False)
    )
    assert alone.parameters["alone"].bool_param
    assert not other.parameters
    assert alone.raw_input_contents == other.raw_input_contents


def test_only_wanted_outputs_are_asked_for():
    inputs = {"x": np.zeros((1, 2), np.int64)}
    some, all_of_them = (
        service_pb2.ModelInferRequest.FromString(encode_infer("graph", inputs, outputs=outputs))
        for outputs in (("b", "a"), ())
    )
    assert [output.name for output in some.outputs] == ["b", "a"]
    assert not all_of_them.outputs


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_152])
def test_lengths_of_all_widths_are_written_right(size):
    array = np.arange(size, dtype=np.uint8)
    request = service_pb2.ModelInferRequest.FromString(encode_infer("graph", {"x": array}))
    assert request.raw_input_contents[0] == array.tobytes()


def test_strided_arrays_are_written_in_order():
    array = np.arange(24, dtype=np.int64).reshape(4, 6)[::2, ::-1].T
    request = service_pb2.ModelInferRequest.FromString(encode_infer("graph", {"x": array}))
    assert request.raw_input_contents[0] == array.tobytes()


def test_unknown_dtypes_are_refused():
    with pytest.raises(ValueError, match="complex64"):
        encode_infer("graph", {"x": np.zeros(2, np.complex64)})


def test_response_becomes_arrays_of_their_shape():
    response = service_pb2.ModelInferResponse()
    for name, datatype in (("a", "FP32"), ("b", "FP16")):
        response.outputs.add(name=name, datatype=datatype, shape=(2, 3))
        response.raw_output_contents.append(np.arange(6, dtype=DTYPES[datatype]).tobytes())
    arrays = decode_infer(response)
    assert {name: (array.dtype.name, array.tolist()) for name, array in arrays.items()} == {
        "a": ("float32", [[0, 1, 2], [3, 4, 5]]),
        "b": ("float16", [[0, 1, 2], [3, 4, 5]]),
    }


@pytest.mark.parametrize(("datatype", "content"), [("BF16", bytes(24)), ("FP32", bytes(20)), ("FP32", None)])
def test_response_that_does_not_hold_together_is_refused(datatype, content):
    """An unknown dtype, too few bytes, no bytes: an error, and never a wrong vector."""
    response = service_pb2.ModelInferResponse()
    response.outputs.add(name="a", datatype=datatype, shape=(2, 3))
    if content is not None:
        response.raw_output_contents.append(content)
    with pytest.raises(ValueError, match=r".+"):
        decode_infer(response)
