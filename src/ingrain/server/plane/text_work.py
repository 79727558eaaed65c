"""What a request for texts comes to, once it is read: so that few texts can be embedded without a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ingrain.pipeline.requests import EmbeddedTexts, ModelName, Texts, VectorForm
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.services import Services


class TextWork(msgspec.Struct, frozen=True):
    """Texts that a request wants embedded, and nothing else.

    Attributes:
        name: By which model.
        texts: The texts.
        form: What the vectors are to be.
        respond: Makes the answer.
    """

    name: ModelName
    texts: Texts
    form: VectorForm
    respond: Callable[[EmbeddedTexts], Response]


OtherWork = Callable[[], Awaitable[Response]]
"""Answers a request that was read and wants more than texts."""


class TextReader(msgspec.Struct, frozen=True):
    """What a route has in the place of a handler, where its requests are for texts as a rule.

    Attributes:
        read: Reads a request; raises a RequestError.
    """

    read: Callable[[Services, Request], TextWork | OtherWork]
