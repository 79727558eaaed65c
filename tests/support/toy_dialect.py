"""A dialect from outside Ingrain: one text in, numbers in a line out, errors in capitals. This module is all of it.

It is served below ``/other`` too. One of its routes shares the path of a route of Ingrain's own, one has the model's
name in its path, and one takes the only loaded model.
"""

from __future__ import annotations

import msgspec

from ingrain.errors import TextTooLongError
from ingrain.pipeline.task import ModelName
from ingrain.server.http.message import Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.route import Dialect, Work, inference_route
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked."""

    text: str
    model: str | None = None
    truncate: bool = True


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked where Ingrain has a route of its own."""

    query: str


class Line(msgspec.Struct, frozen=True):
    """What is answered."""

    line: str


class Shout(msgspec.Struct, frozen=True):
    """What is answered where something is wrong."""

    shout: str


def _vector(services, request) -> Work:
    question = decode(request.body, Question)
    named = request.variable or question.model
    model = ModelName(name=named) if named else default_model(services, "text_encoder")
    return _line(model, question.text, truncate=question.truncate)


def _query(services, request) -> Work:
    return _line(default_model(services, "text_encoder"), decode(request.body, Query).query)


def _line(model: ModelName, text: str, *, truncate: bool = True) -> Work:
    def respond(done) -> Response:
        line = " ".join(f"{number:.6f}" for number in done.vectors[0])
        return Response(msgspec.json.encode(Line(line)))

    return Work(EmbedTexts(model, Texts(texts=[text], is_list=False, truncate=truncate), VectorForm()), respond)


DIALECTS = (
    Dialect(
        name="toy",
        routes=(
            inference_route("toy_vector", _vector, "Embed one text.", Question, Line, path="/toy/vector"),
            inference_route("toy_named", _vector, "Embed by name.", Question, Line, path="/toy/models/{model}/vector"),
            inference_route(
                "toy_query", _query, "Embed a query.", Query, Line, path="/embed_text", told_by=("query", "x-toy")
            ),
        ),
        error_body=lambda error, status, request_id: {"shout": f"{status} {error.message.upper()}"},
        error_type=Shout,
        prefix="/toy/",
        status=lambda error, status: 422 if isinstance(error, TextTooLongError) else status,
        mounts=("", "/other"),
    ),
)
