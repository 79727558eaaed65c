"""Routes that classify images."""

from __future__ import annotations

import time

from ingrain.api import types
from ingrain.server.dialects.native.fields import images_of, model_name
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, milliseconds_since
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import inference_route
from ingrain.server.plane.services import Services
from ingrain.server.plane.uploads import read_image_body
from ingrain.tasks.classify_image import ClassifyImages
from ingrain.tasks.zero_shot import Labels, classify_zero_shot


async def _classify_image(services: Services, request: Request) -> Response:
    body, files = await read_image_body(services, request, types.ClassifyImageRequest)
    started = time.perf_counter()
    rows = await services.pipeline.run(ClassifyImages(model_name(body), images_of(body, files, body.image)))
    return array_answer({"probabilities": rows, "processingTimeMs": milliseconds_since(started)})


async def _classify_image_zero_shot(services: Services, request: Request) -> Response:
    body, files = await read_image_body(services, request, types.ZeroShotRequest)
    started = time.perf_counter()
    labels = Labels(
        names=tuple(body.labels),
        templates=tuple(body.templates or ("{}",)),
        cache_group=cache_group(services, request),
    )
    images = images_of(body, files, body.image)
    rows = await classify_zero_shot(services.pipeline, model_name(body), images, labels)
    return array_answer({"labels": body.labels, "probabilities": rows, "processingTimeMs": milliseconds_since(started)})


ROUTES = (
    inference_route(
        "classify_image",
        _classify_image,
        "Classify images with a model's own labels.",
        types.ClassifyImageRequest,
        types.ProbabilitiesAnswer,
        takes_images=True,
        takes_forms=True,
    ),
    inference_route(
        "classify_image_zero_shot",
        _classify_image_zero_shot,
        "Classify images with labels from the request, by a model with a text and an image encoder.",
        types.ZeroShotRequest,
        types.ZeroShotAnswer,
        takes_images=True,
        takes_forms=True,
    ),
)
