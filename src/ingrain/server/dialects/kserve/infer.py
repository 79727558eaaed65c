"""Inference over HTTP: tensors in JSON, or behind it as binary data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, Literal

import msgspec
import orjson

from ingrain.errors import IngrainError, InvalidRequestError
from ingrain.pipeline.task import ModelName
from ingrain.server.dialects.kserve.inference import Inference, Outcome, answering, completed, infer, model_of
from ingrain.server.dialects.kserve.interface import VERSION
from ingrain.server.dialects.kserve.plans import WHOLE, embedding_outcome, plan
from ingrain.server.dialects.kserve.tensors import Items, check_input, check_new, split_bytes, wanted_output
from ingrain.server.dialects.kserve.types import KServeInferRequest, KServeInput
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.bodies import DecodedBody, decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.prepare import LARGE_BODY, check_values
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.texts import Texts

JSON_LENGTH = "inference-header-content-length"
"""The header with the number of bytes of JSON, if binary data follow it."""
_JSON_LENGTH = JSON_LENGTH.encode()
_BINARY = "application/octet-stream"


class _Read(msgspec.Struct, frozen=True):
    """A request that has been read.

    Attributes:
        body: Its JSON.
        inputs: The elements of each input.
    """

    body: KServeInferRequest
    inputs: Mapping[str, Items]


class _TextInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: list[int]
    data: list[str]


class _PlainRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts to embed without options, the common request, which is read at the cost of one of Ingrain's own API."""

    inputs: tuple[_TextInput]
    id: str | None = None


_plain_decoder = msgspec.json.Decoder(_PlainRequest)


def infer_over_http(services: Services, request: Request) -> Work[Any] | Awaitable[Response]:
    """Run a request."""
    if (work := _embed_plain(services, request)) is not None:
        return work
    if _JSON_LENGTH in request.headers and len(request.body) > LARGE_BODY:
        return _infer_large(services, request)
    return _answering(services, request, _read(request, services.limits.max_items))


def _embed_plain(services: Services, request: Request) -> Work[Any] | None:
    """Return the work of a plain request; None of any other, which may be wrong."""
    if _JSON_LENGTH in request.headers or type(request.body) is DecodedBody:
        return None
    try:
        body = _plain_decoder.decode(request.body)
        name = model_of(request.variable)
        model = services.registry.get(name, library=None, pretrained=None)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, IngrainError):
        return None
    (tensor,) = body.inputs
    given = tensor.data
    if tensor.shape != [len(given)] or not 0 < len(given) <= services.limits.max_items:
        return None
    if "text_encoder" not in model.queues:
        return None
    texts = Texts(texts=given, param="text", cache_group=cache_group(services, request))
    respond = partial(_response, name, body.id, {}, False)
    return Work(EmbedTexts(ModelName(name=name), texts, WHOLE), lambda done: respond(embedding_outcome(done)))


async def _infer_large(services: Services, request: Request) -> Response:
    """Run a request with much binary data, which are read in a thread."""
    read = await asyncio.get_running_loop().run_in_executor(services.parsing, _read, request, services.limits.max_items)
    return await completed(services, _answering(services, request, read))


def _answering(services: Services, request: Request, read: _Read) -> Work[Any] | Awaitable[Response]:
    body, name = read.body, model_of(request.variable)
    outputs, parameters = body.outputs, body.parameters
    inference = Inference(
        model=name,
        inputs=read.inputs,
        outputs=[wanted_output(output.name, output.parameters or {}) for output in outputs] if outputs else (),
        parameters=parameters,
        cache_group=cache_group(services, request),
    )
    binary = parameters is not None and bool(parameters.get("binary_data_output"))
    are_binary: dict[str, bool] = {}
    for output in outputs or ():
        are_binary[output.name] = bool((output.parameters or {}).get("binary_data", binary))
    respond = partial(_response, name, body.id, are_binary, binary)
    return answering(services, infer(services, inference, plan), respond)


def _read(request: Request, max_items: int) -> _Read:
    """Return the JSON of a request and the elements of its inputs.

    Raises:
        InvalidRequestError: The JSON or an input is not valid, or the binary data do not match the inputs.
        TooLargeError: There are too many elements.
    """
    if _JSON_LENGTH not in request.headers:
        body, rest = decode(request.body, KServeInferRequest), memoryview(b"")
    else:
        given, length = request.header(JSON_LENGTH), len(request.body)
        if not (given.isascii() and given.isdigit() and len(given) <= 20 and int(given) <= length):
            raise InvalidRequestError(
                f"Inference-Header-Content-Length is {given[:30]!r}; the body has {length} bytes.",
                param="Inference-Header-Content-Length",
            )
        rest = memoryview(request.body)
        head, rest = bytes(rest[: int(given)]), rest[int(given) :]
        if len(head) > LARGE_BODY:
            check_values(head, max_items)
        body = decode(head, KServeInferRequest)
    inputs: dict[str, Items] = {}
    for tensor in body.inputs:
        parameters = tensor.parameters or {}
        check_new(tensor.name, parameters, inputs)
        size = parameters.get("binary_data_size")
        items: Items
        if size is None:
            items = _elements(tensor)
        elif type(size) is not int or not 0 <= size <= len(rest) or tensor.data is not None:
            raise InvalidRequestError(
                f"Input {tensor.name[:100]!r} must have binary_data_size bytes behind the JSON, and no data in it; "
                f"there are {len(rest)} bytes.",
                param=tensor.name[:100],
            )
        else:
            items, rest = split_bytes(tensor.name, rest[:size], max_items), rest[size:]
        check_input(tensor.name, tensor.datatype, tensor.shape, len(items))
        inputs[tensor.name] = items
    if len(rest):
        raise InvalidRequestError(f"{len(rest)} bytes of the binary data belong to no input.", param="inputs")
    return _Read(body, inputs)


def _elements(tensor: KServeInput) -> list[str | bytes]:
    """Return the elements of an input in JSON, which may stand in a list for each row."""
    name, data = tensor.name[:100], tensor.data
    if data is None:
        raise InvalidRequestError(f"Input {name!r} has no data.", param=name)
    if set(map(type, data)) == {str}:  # the common case
        return data
    items: list[str | bytes] = []
    for place, given in enumerate(data):
        item = given[0] if isinstance(given, list) and len(given) == 1 else given
        if not isinstance(item, str):
            if tensor.datatype != "BYTES":
                check_input(tensor.name, tensor.datatype, tensor.shape, len(data))
            raise InvalidRequestError(f"{name}[{place}] must be a text.", param=f"{name}[{place}]")
        items.append(item)
    return items


def _response(name: str, given_id: str | None, are_binary: Mapping[str, bool], binary: bool, done: Outcome) -> Response:
    outputs: list[dict[str, object]] = []
    raws: list[bytes] = []
    for tensor in done.tensors:
        output: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if are_binary.get(tensor.name, binary):
            raws.append(tensor.raw())
            output["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            output["data"] = tensor.data()
        outputs.append(output)
    answer: dict[str, object] = {"model_name": name, "model_version": VERSION, "outputs": outputs}
    if given_id is not None:
        answer["id"] = given_id
    if done.truncated:
        answer["parameters"] = {"truncated_texts": done.truncated}
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    response = Response(head)
    if raws:
        response = Response(b"".join((head, *raws)), media_type=_BINARY, headers={JSON_LENGTH: str(len(head))})
    if done.truncated:
        response.headers["x-truncated-texts"] = str(done.truncated)
    return response
