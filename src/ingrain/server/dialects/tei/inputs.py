"""Reads what TEI's requests have in common: the model, texts or token ids, prompt and truncation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, cast

from ingrain.errors import InvalidRequestError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.prompts import PromptChoice
from ingrain.preprocess.special_tokens import CutSide
from ingrain.preprocess.tokenized import TokenizedText, lengths_of
from ingrain.server.dialects.tei.errors import DEFAULT_MODEL, empty
from ingrain.server.dialects.tei.types import TextsOrIds
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.services import Services
from ingrain.tasks.texts import Texts
from ingrain.vocabulary import Role

ROLES: tuple[Role, ...] = (
    "text_encoder",
    "sparse_encoder",
    "text_scorer",
    "multi_vector_encoder",
    "token_encoder",
)
"""Roles of graphs that take texts. Of several models the one is meant that comes first here."""


class Truncates(Protocol):
    """A body that says how too long texts are truncated."""

    @property
    def truncate(self) -> bool | None:
        """Whether they are; otherwise the request is refused."""

    @property
    def truncation_direction(self) -> Literal["Left", "Right", "left", "right"] | None:
        """Side that is cut; None for the model's own."""


class HasPrompt(Truncates, Protocol):
    """A body that may name a prompt, too."""

    @property
    def prompt_name(self) -> str | None:
        """Name of one of the model's prompts."""


def model_of(
    services: Services, request: Request, *roles: Role, fits: Callable[[LoadedModel], bool] | None = None
) -> ModelName:
    """Return the model that the path names, else the default model of those with one of the roles."""
    if request.variable:
        return ModelName(name=request.variable)
    return default_model(services, *roles, param=DEFAULT_MODEL, fits=fits)


def any_model_of(services: Services, request: Request) -> ModelName:
    """Return the model that the path names, else the default model of the first task that a model does."""
    models = [slot.model for slot in services.registry.slots if slot.model is not None]
    roles = [role for role in ROLES if any(role in model.queues for model in models)]
    return model_of(services, request, *(roles[:1] or ROLES))


def texts_of(given: TextsOrIds, body: HasPrompt, cache_group: int | None, *, param: str = "inputs") -> Texts:
    """Return texts or token ids with their options.

    Raises:
        InvalidRequestError: There is none, or texts and token ids are mixed.
    """
    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] | None = None
    if isinstance(given, str):
        texts = [given]
    else:
        if not given:
            raise empty(param)
        kind = type(given[0])
        if set(map(type, given)) != {kind}:
            place = next(place for place, item in enumerate(given) if type(item) is not kind)
            raise InvalidRequestError(
                f"{param} mixes texts and token ids; give only texts, only token ids, or only lists of token ids.",
                param=f"{param}[{place}]",
            )
        if kind is str:
            texts = cast("list[str]", given)
        else:
            token_ids = [cast("list[int]", given)] if kind is int else cast("list[list[int]]", given)
    return Texts(
        texts=texts,
        token_ids=token_ids,
        prompt=prompt_of(body),
        truncate=body.truncate is True,
        cut_side=cut_side_of(body),
        param=param,
        is_list=not isinstance(given, str) and kind is not int,
        cache_group=cache_group,
    )


def prompt_of(body: HasPrompt) -> PromptChoice | None:
    """Return the choice of a prompt; None for the model's default prompt."""
    return PromptChoice(name=body.prompt_name) if body.prompt_name is not None else None


def cut_side_of(body: Truncates) -> CutSide | None:
    """Return the side on which too long texts are cut; None for the model's own."""
    side = body.truncation_direction
    return cast("CutSide", side.lower()) if side is not None else None


def measured(response: Response, started: float, chars: int, items: Sequence[TokenizedText]) -> Response:
    """Add TEI's headers about a request's size and time.

    Args:
        response: The response.
        started: Time at which the request was parsed, by ``time.perf_counter``.
        chars: Number of characters of the texts.
        items: The tokenized texts.
    """
    headers, milliseconds = response.headers, str(int(1e3 * (time.perf_counter() - started)))
    headers["x-compute-time"] = headers["x-total-time"] = milliseconds
    headers["x-compute-characters"] = str(chars)
    headers["x-compute-tokens"] = str(sum(lengths_of(items)))
    return response


def chars_of(texts: Texts) -> int:
    """Return the number of characters of texts, or of token ids in their place."""
    return sum(map(len, texts.texts if texts.token_ids is None else texts.token_ids))
