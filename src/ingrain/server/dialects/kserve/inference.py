"""Finds the task of a request by its inputs and its model, and makes tensors of the result; for both transports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from ingrain.errors import InvalidRequestError, ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName, Task
from ingrain.server.dialects.kserve.interface import VERSION, interface_of, names
from ingrain.server.dialects.kserve.options import Options, options_of
from ingrain.server.dialects.kserve.tensors import Items, Tensor, Wanted
from ingrain.server.http.message import Response
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.score import ROLE as SCORER

R = TypeVar("R")

_VERSIONS = "/versions/"


class Inference(msgspec.Struct, frozen=True, kw_only=True):
    """A request.

    Attributes:
        model: Name of the model.
        inputs: The elements of each input, by name.
        outputs: The outputs that are asked for; the main ones of the task if there are none.
        parameters: The options.
        cache_group: Group of requests that share cached rows; None to compute all rows.
    """

    model: str
    inputs: Mapping[str, Items]
    outputs: Sequence[Wanted] = ()
    parameters: Mapping[str, Any] | None = None
    cache_group: int | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The result of a request.

    Attributes:
        tensors: The outputs.
        truncated: Number of truncated texts.
    """

    tensors: list[Tensor]
    truncated: int = 0


class Planned(msgspec.Struct, Generic[R], frozen=True):
    """A request that is one pipeline task.

    Attributes:
        task: The task.
        outcome: Makes the outputs of the task's result.
    """

    task: Task[R]
    outcome: Callable[[R], Outcome]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its model and its options.

    Attributes:
        services: Services of the plane.
        given: The request.
        model: The model.
        name: The model's name in the request.
        options: The options.
    """

    services: Services
    given: Inference
    model: LoadedModel
    name: ModelName
    options: Options

    def chosen(self, available: Sequence[str], default: Sequence[str]) -> Sequence[str]:
        """Return the names of the outputs that are asked for.

        Args:
            available: Outputs that the inputs of the request can give.
            default: Outputs of a request that names none.

        Raises:
            InvalidRequestError: One of them is not available.
        """
        wanted = [output.name for output in self.given.outputs]
        for name in wanted:
            if name not in available:
                raise InvalidRequestError(
                    f"Model {self.name.name!r} gives no output {name[:100]!r} for these inputs; its outputs are "
                    f"{', '.join(available)}.",
                    param=name[:100],
                )
        if len(set(wanted)) < len(wanted):
            raise InvalidRequestError("An output is asked for twice.", param="outputs")
        return wanted or default


Plan = Planned[Any] | Awaitable[Outcome]
"""A request that is one task, or the coroutine of one that needs more."""
Planner = Callable[[Asked], Plan]


def model_of(path: str) -> str:
    """Return the model that a path names, which may end with ``/versions/1``.

    Raises:
        InvalidRequestError: It names another version.
    """
    name, marker, version = path.rpartition(_VERSIONS)
    if not marker:
        return path
    check_version(version)
    return name


def check_version(version: str) -> None:
    """Refuse other versions of a model than the only one.

    Raises:
        ModelNotLoadedError: It is another one.
    """
    if version not in ("", VERSION):
        raise ModelNotLoadedError(
            f"There is no version {version[:20]!r}; every model has the version {VERSION!r} only.", param="version"
        )


def infer(services: Services, given: Inference, planner: Planner) -> Plan:
    """Return the task of a request, or the coroutine of its result.

    Args:
        services: Services of the plane.
        given: The request.
        planner: Finds the task for the inputs.

    Raises:
        InvalidRequestError: An input, an output or an option does not fit the model.
    """
    options = options_of(given.parameters)
    name = ModelName(name=given.model, library=options.library, pretrained=options.pretrained)
    try:
        model = services.registry.get(name.name, library=name.library, pretrained=name.pretrained)
    except ModelNotLoadedError:  # another process that shares the repository may have loaded it
        return _infer_refreshed(services, given, planner, name, options)
    return planner(_asked(services, given, model, name, options))


async def _infer_refreshed(
    services: Services, given: Inference, planner: Planner, name: ModelName, options: Options
) -> Outcome:
    model = await services.pipeline.model(name)
    return await _finished(services, planner(_asked(services, given, model, name, options)))


def answering(
    services: Services, planned: Plan, respond: Callable[[Outcome], Response]
) -> Work[Any] | Awaitable[Response]:
    """Return a handler's result for a request, whose response ``respond`` makes."""
    if isinstance(planned, Planned):
        outcome = planned.outcome
        return Work(planned.task, lambda result: respond(outcome(result)))
    return _respond_later(services, planned, respond)


async def _respond_later(services: Services, planned: Plan, respond: Callable[[Outcome], Response]) -> Response:
    return respond(await _finished(services, planned))


async def completed(services: Services, work: Work[Any] | Awaitable[Response]) -> Response:
    """Return the response of a handler's result."""
    if isinstance(work, Work):
        return work.respond(await services.pipeline.run(work.task))
    return await work


async def _finished(services: Services, plan: Plan) -> Outcome:
    if isinstance(plan, Planned):
        return plan.outcome(await services.pipeline.run(plan.task))
    return await plan


def _asked(services: Services, given: Inference, model: LoadedModel, name: ModelName, options: Options) -> Asked:
    """Return the request with its model.

    Raises:
        InvalidRequestError: The model has no such input.
    """
    if given.inputs.keys() != {"text"} or "text_encoder" not in model.queues:
        interface = interface_of(model)
        known = {tensor.name for tensor in interface.inputs}
        if SCORER in model.queues:  # one with a single label may be a reranker or a classifier
            known |= {"text", "text_pair"}
        for one in given.inputs:
            if one not in known:
                raise InvalidRequestError(
                    f"Model {name.name!r} has no input {one[:100]!r}; its inputs are {names(interface.inputs)}.",
                    param=one[:100],
                )
    return Asked(services=services, given=given, model=model, name=name, options=options)
