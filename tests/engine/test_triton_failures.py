"""What a caller of Triton gets when a call fails, and when the network changes bytes."""

import contextlib

import numpy as np
import pytest
from grpc import StatusCode
from tritonclient.grpc import service_pb2

import graphs
from ingrain.engine.triton.engine import TritonEngine
from ingrain.errors import (
    DeadlineExceededError,
    EngineError,
    EngineMemoryError,
    EngineUnavailableError,
    InferenceError,
    ModelNotLoadedError,
)
from processes import free_port
from stand_in_triton import server

INPUTS = {"input_ids": np.ones((3, 4), np.int64), "attention_mask": np.ones((3, 4), np.int64)}
EXPECTED = graphs.expected_embedding(*INPUTS.values())

ERRORS = {
    StatusCode.INVALID_ARGUMENT: InferenceError,
    StatusCode.INTERNAL: InferenceError,
    StatusCode.FAILED_PRECONDITION: InferenceError,
    StatusCode.OUT_OF_RANGE: InferenceError,
    StatusCode.ALREADY_EXISTS: InferenceError,
    StatusCode.NOT_FOUND: ModelNotLoadedError,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    StatusCode.RESOURCE_EXHAUSTED: EngineMemoryError,
}


@contextlib.asynccontextmanager
async def engine_of(infer, **options):
    address = f"127.0.0.1:{free_port()}"
    engine = TritonEngine(address, watch_interval_s=0, **options)
    async with server(address, infer):
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()


@pytest.mark.parametrize("code", [code for code in StatusCode if code != StatusCode.OK], ids=lambda code: code.name)
async def test_every_status_is_an_error_of_ours(code):
    """What is no fault of the batch may be sent again: it is unavailable, and says when."""

    async def refuse(message, context):
        await context.abort(code, "words")

    async with engine_of(refuse) as engine:
        with pytest.raises(EngineError if code != StatusCode.NOT_FOUND else ModelNotLoadedError) as caught:
            await engine.infer("tiny", INPUTS, timeout_s=20)
        assert type(caught.value) is ERRORS.get(code, EngineUnavailableError)
        if code not in ERRORS:
            assert 0 < caught.value.retry_after_s <= 10


@pytest.mark.parametrize(("words", "runs"), [(["a", "a"], 2), (["a", "b", "a", None], 4), (["a", "b", "c", "d"], 4)])
async def test_a_refusal_in_other_words_each_time_is_no_fault_of_the_batch(words, runs):
    """The network has changed its bytes: it is sent again while the words differ."""
    said = []

    async def infer(message, context):
        said.append(words[len(said)])
        if said[-1] is not None:
            await context.abort(StatusCode.INVALID_ARGUMENT, said[-1])
        return answer_to(message)

    async with engine_of(infer) as engine:
        if words[-1] is None:
            answer = await engine.infer("tiny", INPUTS, timeout_s=20)
            np.testing.assert_array_equal(answer["sentence_embedding"], EXPECTED)
        else:
            with pytest.raises(InferenceError):
                await engine.infer("tiny", INPUTS, timeout_s=20)
    assert len(said) == runs


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (StatusCode.INVALID_ARGUMENT, "RuntimeException: [ONNXRuntimeError] : 6 : ... Status Message: std::bad_alloc"),
        (StatusCode.INTERNAL, "onnx runtime error 6: ... Failed to allocate memory for requested buffer of size 17179"),
        (StatusCode.INTERNAL, "onnx runtime error 1: ... CUDA failure 2: out of memory ; GPU=0 ; hostname=a"),
        (StatusCode.INTERNAL, "onnx runtime error 1: ... CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"),
        (StatusCode.INVALID_ARGUMENT, "_ArrayMemoryError: Unable to allocate 1.00 PiB for an array with shape (1,)"),
        (StatusCode.INTERNAL, "Failed to increase the shared memory pool size for key 'x' to 67108864 bytes."),
    ],
)
async def test_a_lack_of_memory_is_told_by_what_triton_forwards(code, words):
    async def refuse(message, context):
        await context.abort(code, words)

    async with engine_of(refuse) as engine:
        with pytest.raises(EngineMemoryError):
            await engine.infer("tiny", INPUTS, timeout_s=20)


async def test_an_internal_failure_of_triton_is_no_fault_of_a_batch_of_our_python_model():
    async def refuse(message, context):
        await context.abort(StatusCode.INTERNAL, "Stub process 'tiny_0_0' is not healthy.")

    async with engine_of(refuse, backend="python") as engine:
        with pytest.raises(EngineUnavailableError):
            await engine.infer("tiny", INPUTS, timeout_s=20)


def answer_to(message, **changes):
    request = service_pb2.ModelInferRequest.FromString(message)
    answer = service_pb2.ModelInferResponse(model_name="tiny", id=changes.get("id", request.id))
    answer.outputs.add(name="sentence_embedding", datatype="FP32", shape=[3, graphs.WIDTH])
    answer.raw_output_contents.append(EXPECTED.tobytes()[: changes.get("bytes")])
    return answer.SerializeToString()


@pytest.mark.parametrize("changes", [{"id": "another"}, {"id": ""}, {"bytes": 17}], ids=str)
async def test_an_answer_to_another_batch_or_of_another_size_is_never_returned(changes):
    """The batch is sent once more; if that does not help, its caller may send it again."""
    wrong = 1

    async def infer(message, context):
        nonlocal wrong
        wrong -= 1
        return answer_to(message, **changes) if wrong >= 0 else answer_to(message)

    async with engine_of(infer) as engine:
        np.testing.assert_array_equal((await engine.infer("tiny", INPUTS))["sentence_embedding"], EXPECTED)
        wrong = 2
        with pytest.raises(EngineUnavailableError):
            await engine.infer("tiny", INPUTS)
