"""Routes of the first generation, kept for older clients: each is one of today's under another name."""

from __future__ import annotations

from ingrain.api import types
from ingrain.errors import InvalidRequestError
from ingrain.repository.desired import ModelRef
from ingrain.server.dialects.native import inference
from ingrain.server.dialects.native.models import load
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.endpoint import Handler
from ingrain.server.plane.services import ModelServices
from ingrain.server.plane.text_work import TextReader
from ingrain.vocabulary import Library


def _load_with(library: Library) -> Handler:
    async def handler(services: ModelServices, request: Request) -> Response:
        body = decode(request.body, types.NamedModelRequest)
        if body.library not in (None, library):
            raise InvalidRequestError(f"library is {body.library!r}; this route loads {library!r}.", param="library")
        return await load(services, ModelRef(name=body.name, library=library, pretrained=body.pretrained))

    return handler


HANDLERS: dict[str, Handler | TextReader] = {
    "infer_text": TextReader(inference.read_texts),
    "infer_image": inference.embed_image,
    "infer": inference.embed,
    "load_sentence_transformer_model": _load_with("sentence_transformers"),
    "load_clip_model": _load_with("open_clip"),
    "load_timm_model": _load_with("timm"),
}
"""By name in the table of routes."""
