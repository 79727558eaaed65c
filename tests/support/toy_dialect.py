"""A dialect from outside Ingrain: one text in, numbers in a line out, errors in capitals. This module is all of it."""

from __future__ import annotations

import msgspec

from ingrain.pipeline.task import ModelName
from ingrain.server.http.message import Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.route import Dialect, Work, inference_route
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked."""

    model: str
    text: str


class Line(msgspec.Struct, frozen=True):
    """What is answered."""

    line: str


class Shout(msgspec.Struct, frozen=True):
    """What is answered where something is wrong."""

    shout: str


def _vector(services, request) -> Work:
    question = decode(request.body, Question)

    def respond(done) -> Response:
        line = " ".join(f"{number:.6f}" for number in done.vectors[0])
        return Response(msgspec.json.encode(Line(line)))

    task = EmbedTexts(ModelName(name=question.model), Texts(texts=[question.text], is_list=False), VectorForm())
    return Work(task, respond)


DIALECTS = (
    Dialect(
        name="toy",
        routes=(inference_route("toy_vector", _vector, "Embed one text.", Question, Line, path="/toy/vector"),),
        error_body=lambda error, status, request_id: {"shout": f"{status} {error.message.upper()}"},
        error_type=Shout,
        prefix="/toy/",
    ),
)
