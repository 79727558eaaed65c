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


async def _tune_model(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, wire.TuneModelRequest)
    manifest = await services.registry.tune(
        body.name, library=body.library, pretrained=body.pretrained, seconds=body.seconds
    )
    return struct_answer(_answer(manifest, services.registry.place))


async def _reset_tuning(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, types.ModelRequest)
    was_tuned = await services.registry.reset_tuning(body.name, library=body.library, pretrained=body.pretrained)
    what = "is executed by default again" if was_tuned else "was not tuned here"
    return struct_answer(types.MessageAnswer(message=f"Model {body.name} {what}."))


async def _model_tuning(services: ModelServices, request: Request) -> Response:
    return struct_answer(_answer(await queried_manifest(services, request), services.registry.place))


def _answer(manifest: Manifest, place: TuningMachine) -> wire.ModelTuningAnswer:
    tuning = place.fitting(manifest)
    found = {graph.role: graph for graph in tuning.graphs} if tuning is not None else {}
    executions = place.executions(manifest)
    return wire.ModelTuningAnswer(
        message=_in_words(manifest.name, None if tuning is None else [graph.ratio for graph in tuning.graphs]),
        name=manifest.name,
        tuned_at=tuning.tuned_at if tuning is not None else None,
        seconds=tuning.seconds if tuning is not None else None,
        given=dict(place.given),
        graphs=[
            wire.GraphTuning(
                role=graph.role,
                in_effect=_execution(executions[graph.role]),
                default=_execution(place.default_of(graph)),
                chosen=_execution(found[graph.role].chosen) if graph.role in found else None,
                ratio=found[graph.role].ratio if graph.role in found else None,
                curve=_curve(found.get(graph.role)),
            )
            for graph in manifest.graphs
        ],
    )


def _in_words(name: str, ratios: list[float] | None) -> str:
    if ratios is None:
        return f"Model {name} has no tuning that fits this server."
    if all(ratio == 1 for ratio in ratios):
        return f"Model {name} is tuned: no setting is measurably faster than the default."
    return f"Model {name} is tuned: {', '.join(f'{ratio:.2f}' for ratio in ratios)} times the default."


def _curve(found: GraphTuning | None) -> list[wire.TuningPoint]:
    return [
        wire.TuningPoint(
            step=point.step,
            execution=_execution(point.execution),
            items_per_s=point.items_per_s,
            ratio=point.ratio,
        )
        for point in (found.curve if found is not None else ())
    ]


def _execution(execution: Execution) -> wire.Execution:
    return wire.Execution(
        copies=execution.layout.copies,
        threads=execution.layout.threads,
        max_items=execution.max_items,
        max_tokens=execution.max_tokens or None,
    )


ROUTES = (
    model_route(
        "tune_model",
        _tune_model,
        "Measure the fastest execution settings for a loaded model on this server, store them, and apply them.",
        wire.TuneModelRequest,
        wire.ModelTuningAnswer,
        errors=(400, 404, 409, 413, 503),
    ),
    model_route(
        "reset_tuning",
        _reset_tuning,
        "Delete a model's tuning for this server; the model runs with the default settings again.",
        types.ModelRequest,
        types.MessageAnswer,
        errors=(400, 404, 409, 413, 503),
    ),
    query_route(
        "model_tuning",
        _model_tuning,
        "Return the execution settings of a model's graphs on this server, and the measurements of its tuning.",
        wire.ModelTuningAnswer,
    ),
)
