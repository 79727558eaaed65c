"""First-generation routes for older clients: other names of current routes."""

from __future__ import annotations

from dataclasses import replace

from ingrain.api import types
from ingrain.errors import InvalidRequestError
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.dialects.native import embed
from ingrain.server.dialects.native.errors import error_body
from ingrain.server.dialects.native.models import load, load_route
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.route import Dialect, Handler, Route
from ingrain.server.plane.services import ModelServices
from ingrain.vocabulary import Library

_OLD_NAMES = {"embed_text": "infer_text", "embed_image": "infer_image", "embed": "infer"}


def _renamed(route: Route) -> Route:
    name = _OLD_NAMES[route.name]
    return replace(route, name=name, path=f"/{name}", summary=f"As {route.path}.", deprecated=True)


def _load_with(library: Library) -> Handler:
    async def handler(services: ModelServices, request: Request) -> Response:
        body = decode(request.body, types.NamedModelRequest)
        if body.library not in (None, library):
            raise InvalidRequestError(f"library is {body.library!r}; this route loads {library!r}.", param="library")
        return await load(services, ModelRef(name=body.name, library=library, pretrained=body.pretrained))

    return handler


def _load_route(name: str, library: Library) -> Route:
    return load_route(
        name, _load_with(library), f"As /load_model with library {library}.", types.NamedModelRequest, deprecated=True
    )


FIRST_GENERATION = Dialect(
    name="first generation",
    routes=(
        *map(_renamed, embed.ROUTES),
        _load_route("load_sentence_transformer_model", "sentence_transformers"),
        _load_route("load_clip_model", "open_clip"),
        _load_route("load_timm_model", "timm"),
    ),
    error_body=error_body,
    error_type=types.ErrorAnswer,
)
