"""A task from outside Ingrain: how alike two texts are. This module is all of it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ingrain.api.types import Answer, Name, Request
from ingrain.pipeline.task import ModelName
from ingrain.postprocess.vectors import finish
from ingrain.server.http.message import Response
from ingrain.server.plane.answers import array_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.route import Work, inference_route
from ingrain.tasks.texts import Texts, check_texts, tokenize


class SimilarityRequest(Request, frozen=True, kw_only=True):
    """Pairs of texts."""

    name: Name
    pairs: Annotated[list[tuple[str, str]], msgspec.Meta(min_length=1)]


class SimilarityAnswer(Answer, frozen=True, kw_only=True):
    """A cosine for each pair."""

    cosines: list[float]


class Similarity(msgspec.Struct, eq=False):
    """The task: a cosine for each pair, ``float32 [N]``."""

    model: ModelName
    pairs: list[tuple[str, str]]

    def __len__(self):
        return 2 * len(self.pairs)

    def check(self, limits):
        check_texts(limits, self._texts())

    def admit(self, model, limits):
        return model.queue("text_encoder", "pairs", "take text")

    def prepare(self, model, images):
        return tokenize(self._texts(), None, model.text)

    def finish(self, model, rows):
        rows = finish(rows, dimensions=None, normalize=True)
        return (rows[0::2] * rows[1::2]).sum(axis=1)

    def _texts(self):
        return Texts(texts=[text for pair in self.pairs for text in pair], param="pairs")


def similarity(services, request) -> Work:
    body = decode(request.body, SimilarityRequest)

    def respond(cosines) -> Response:
        return array_answer({"cosines": cosines})

    return Work(Similarity(ModelName(name=body.name), body.pairs), respond)


ROUTES = (inference_route("similarity", similarity, "Compare pairs of texts.", SimilarityRequest, SimilarityAnswer),)
