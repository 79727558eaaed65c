"""Routes that tune models."""

from __future__ import annotations

from ingrain.api import tuning as wire
from ingrain.api import types
from ingrain.repository.manifest import Manifest
from ingrain.repository.tuning import Execution, GraphTuning
from ingrain.server.dialects.native.models import model_route, queried_manifest, query_route
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.services import ModelServices
from ingrain.tuning.machine import TuningMachine
from ingrain.vocabulary import Role


async def _tune_model(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, wire.TuneModelRequest)
    manifest = await services.registry.tune(
        body.name, library=body.library, pretrained=body.pretrained, seconds=body.seconds
    )
    return struct_answer(_model_answer(manifest, services.registry.place))


async def _reset_tuning(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, types.ModelRequest)
    was_tuned = await services.registry.reset_tuning(body.name, library=body.library, pretrained=body.pretrained)
    what = "runs with the default settings again" if was_tuned else "was not tuned for this server"
    return struct_answer(types.MessageAnswer(message=f"Model {body.name} {what}."))


async def _model_tuning(services: ModelServices, request: Request) -> Response:
    return struct_answer(_model_answer(await queried_manifest(services, request), services.registry.place))


def _model_answer(manifest: Manifest, machine: TuningMachine) -> wire.ModelTuningAnswer:
    tuning = machine.fitting(manifest)
    tuned = {graph.role: graph for graph in tuning.graphs} if tuning is not None else {}
    executions = machine.executions(manifest)
    return wire.ModelTuningAnswer(
        message=_message(manifest.name, None if tuning is None else [graph.ratio for graph in tuning.graphs]),
        name=manifest.name,
        tuned_at=tuning.tuned_at if tuning is not None else None,
        seconds=tuning.seconds if tuning is not None else None,
        given=dict(machine.given),
        graphs=[
            _graph_answer(graph.role, executions[graph.role], machine.default_of(graph), tuned.get(graph.role))
            for graph in manifest.graphs
        ],
    )


def _message(name: str, ratios: list[float] | None) -> str:
    if ratios is None:
        return f"Model {name} has no tuning that fits this server."
    if all(ratio == 1 for ratio in ratios):
        return f"Model {name} is tuned: no setting is measurably faster than the default."
    return f"Model {name} is tuned: {', '.join(f'{ratio:.2f}' for ratio in ratios)} times the default."


def _graph_answer(role: Role, in_effect: Execution, default: Execution, tuning: GraphTuning | None) -> wire.GraphTuning:
    curve = tuning.curve if tuning is not None else ()
    return wire.GraphTuning(
        role=role,
        in_effect=_execution(in_effect),
        default=_execution(default),
        chosen=_execution(tuning.chosen) if tuning is not None else None,
        ratio=tuning.ratio if tuning is not None else None,
        curve=[
            wire.TuningPoint(
                step=point.step,
                execution=_execution(point.execution),
                items_per_s=point.items_per_s,
                ratio=point.ratio,
            )
            for point in curve
        ],
    )


def _execution(execution: Execution) -> wire.Execution:
    return wire.Execution(
        copies=execution.layout.copies,
        threads=execution.layout.threads,
        max_items=execution.max_items,
        max_tokens=execution.max_tokens or None,
        overhead_tokens=execution.overhead_tokens or None,
    )


ROUTES = (
    model_route(
        "tune_model",
        _tune_model,
        "Measure the fastest execution settings for a loaded model on this server, store them, and apply them.",
        wire.TuneModelRequest,
        wire.ModelTuningAnswer,
        errors=(400, 404, 409, 413, 503, 507),
    ),
    model_route(
        "reset_tuning",
        _reset_tuning,
        "Delete a model's tuning for this server; the model runs with the default settings again.",
        types.ModelRequest,
        types.MessageAnswer,
        errors=(400, 404, 409, 413, 503, 507),
    ),
    query_route(
        "model_tuning",
        _model_tuning,
        "Return the execution settings of a model's graphs on this server, and the measurements of its tuning.",
        wire.ModelTuningAnswer,
    ),
)
