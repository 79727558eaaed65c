"""Inference over gRPC: tensors in raw bytes, or in the protocol's typed contents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2 as pb

from ingrain.errors import InvalidRequestError
from ingrain.server.dialects.kserve.inference import Inference, Outcome, answering, check_version, completed, infer
from ingrain.server.dialects.kserve.interface import VERSION
from ingrain.server.dialects.kserve.options import FINAL_WANTED
from ingrain.server.dialects.kserve.plans import plan
from ingrain.server.dialects.kserve.tensors import Items, Tensor, check_input, check_new, split_bytes, wanted_output
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.prepare import LARGE_BODY
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services

_TYPED = {
    "FP32": "fp32_contents",
    "INT8": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "BYTES": "bytes_contents",
}
"""The field of the typed contents for each element type of outputs."""

Read = tuple[Any, Mapping[str, Items]]
"""A request's message, and the elements of each input."""
Encode = Callable[[Any, Outcome], Message]
"""Makes the message of a response from those of a request and its result."""


def model_infer(services: Services, request: Request) -> Work[Any] | Awaitable[Response]:
    """Run a request."""
    return _infer(services, request, _response)


def stream_infer(services: Services, request: Request) -> Work[Any] | Awaitable[Response]:
    """Run a request of a stream."""
    return _infer(services, request, _streamed)


def stream_refusal(message: bytes, text: str) -> bytes:
    """Return the message of a stream that tells of an error of one request."""
    refusal = pb.ModelStreamInferResponse(error_message=text)
    try:
        refusal.infer_response.id = pb.ModelInferRequest.FromString(message).id
    except DecodeError:
        pass  # such a request has no id
    return bytes(refusal.SerializeToString())


def parsed(kind: type[Message], body: bytes) -> Any:
    """Return a request's message.

    Raises:
        InvalidRequestError: It is not one of this kind.
    """
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise InvalidRequestError(f"The message is not a valid {kind.__name__}.") from error


def _infer(services: Services, request: Request, encode: Encode) -> Work[Any] | Awaitable[Response]:
    if len(request.body) > LARGE_BODY:
        return _infer_large(services, request, encode)
    return _answering(services, request, encode, _read(request.body, services.limits.max_items))


async def _infer_large(services: Services, request: Request, encode: Encode) -> Response:
    """Run a large request, which is read in a thread."""
    loop, most = asyncio.get_running_loop(), services.limits.max_items
    read = await loop.run_in_executor(services.parsing, _read, request.body, most)
    return await completed(services, _answering(services, request, encode, read))


def _answering(services: Services, request: Request, encode: Encode, read: Read) -> Work[Any] | Awaitable[Response]:
    message, inputs = read
    check_version(message.model_version)
    inference = Inference(
        model=message.model_name,
        inputs=inputs,
        outputs=[wanted_output(output.name, _parameters(output)) for output in message.outputs],
        parameters=_parameters(message),
        cache_group=cache_group(services, request),
    )
    return answering(services, infer(services, inference, plan), partial(_respond, message, encode))


def _read(body: bytes, max_items: int) -> Read:
    """Return the message of a request and the elements of its inputs.

    Raises:
        InvalidRequestError: The message or an input is not valid.
        TooLargeError: There are too many elements.
    """
    message = parsed(pb.ModelInferRequest, body)
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise InvalidRequestError(
            f"There are {len(message.inputs)} inputs, but {len(raws)} raw_input_contents; there must be one for each "
            "input, or none.",
            param="raw_input_contents",
        )
    if not message.inputs:
        raise InvalidRequestError("The request has no inputs.", param="inputs")
    inputs: dict[str, Items] = {}
    for place, tensor in enumerate(message.inputs):
        name = tensor.name
        check_new(name, _parameters(tensor), inputs)
        if raws and tensor.HasField("contents"):
            raise InvalidRequestError(
                f"Input {name[:100]!r} has contents, and the request has raw_input_contents; only one may hold data.",
                param=name[:100],
            )
        items: Items = split_bytes(name, raws[place], max_items) if raws else list(tensor.contents.bytes_contents)
        check_input(name, tensor.datatype, tensor.shape, len(items))
        inputs[name] = items
    return message, inputs


def _parameters(owner: Any) -> dict[str, Any]:
    """Return the parameters of a request or an output; None for one without a value."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for name, value in owner.parameters.items()
    }


def _respond(message: Any, encode: Encode, done: Outcome) -> Response:
    response = Response(encode(message, done).SerializeToString())
    if done.truncated:
        response.headers["x-truncated-texts"] = str(done.truncated)
    return response


def _response(message: Any, done: Outcome) -> Any:
    """Return the response's message; its outputs are in raw bytes if the inputs are."""
    answer = pb.ModelInferResponse(model_name=message.model_name, model_version=VERSION, id=message.id)
    for tensor in done.tensors:
        output = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if message.raw_input_contents:
            answer.raw_output_contents.append(tensor.raw())
        else:
            getattr(output.contents, _TYPED[tensor.datatype]).extend(_elements(tensor))
    if done.truncated:
        answer.parameters["truncated_texts"].int64_param = done.truncated
    return answer


def _elements(tensor: Tensor) -> Any:
    return tensor.values if isinstance(tensor.values, list) else tensor.values.ravel().tolist()


def _streamed(message: Any, done: Outcome) -> Any:
    answer = pb.ModelStreamInferResponse(infer_response=_response(message, done))
    if message.parameters[FINAL_WANTED].bool_param:
        answer.infer_response.parameters["triton_final_response"].bool_param = True
    return answer
