"""The options of an inference, which the protocol sends as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingrain.api import fields
from ingrain.errors import InvalidRequestError
from ingrain.models.loaded import LoadedModel
from ingrain.preprocess.prompts import PromptChoice, meaning_of
from ingrain.server.plane.bodies import decode_form
from ingrain.vocabulary import InputType, Library

FINAL_WANTED = "triton_enable_empty_final_response"
"""Parameter of requests in a stream whose responses are to be marked as final ones, as all are."""
_HARMLESS = frozenset(
    (
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "content_type",
        "binary_data_output",
        FINAL_WANTED,
    )
)
"""Parameters of clients that change no result here: models keep no state, and all requests are equal."""
_SIDES: dict[str, InputType] = {"query": "query", "document": "document"}

OF_TEXTS = frozenset(("prompt", "prompt_name", "input_type", "truncate"))
OF_VECTORS = frozenset(("normalize", "n_dims", "output_dtype"))
OF_ENTRIES = frozenset(("top_k", "min_weight"))
OF_SCORES = frozenset(("prompt", "prompt_name", "truncate", "raw_scores"))
_OF_THE_MODEL = frozenset(("library", "pretrained"))


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options by name, as the fields of Ingrain's own API."""

    normalize: bool | None = None
    n_dims: fields.NDims = None
    output_dtype: fields.OutputDtype = None
    prompt: str | None = None
    prompt_name: fields.PromptName = None
    input_type: str | None = None
    truncate: bool | None = None
    top_k: fields.NDims = None
    min_weight: float | None = None
    raw_scores: bool | None = None
    library: Library | None = None
    pretrained: fields.Pretrained = None

    def only(self, allowed: frozenset[str], model: LoadedModel) -> None:
        """Refuse options that do not concern what a model does for this request.

        Raises:
            InvalidRequestError: One of them is given.
        """
        if self is NO_OPTIONS:
            return
        for name in self.__struct_fields__:
            if getattr(self, name) is not None and name not in allowed and name not in _OF_THE_MODEL:
                known = ", ".join(sorted(allowed | _OF_THE_MODEL))
                raise InvalidRequestError(
                    f"Parameter {name!r} does not concern these inputs of model {model.manifest.name!r}; those that do "
                    f"are {known}.",
                    param=name,
                )

    @property
    def prompt_choice(self) -> PromptChoice | None:
        """The choice of a prompt; None for the model's default prompt."""
        if self.prompt is None and self.prompt_name is None and self.input_type is None:
            return None
        return PromptChoice(
            text=self.prompt, name=self.prompt_name, input_type=self.input_type, input_type_param="input_type"
        )

    @property
    def side(self) -> InputType | None:
        """The side of a search that ``input_type`` names, in any of its words; None if it is not given.

        Raises:
            InvalidRequestError: It names neither.
        """
        if self.input_type is None:
            return None
        side = _SIDES.get(meaning_of(self.input_type))
        if side is None:
            raise InvalidRequestError(
                f"input_type is {self.input_type[:100]!r}; for this model it is `query` or `document`.",
                param="input_type",
            )
        return side


NO_OPTIONS = Options()


def options_of(parameters: Mapping[str, Any] | None) -> Options:
    """Return the options of a request.

    Raises:
        InvalidRequestError: A parameter is unknown or has a wrong type or value.
    """
    if not parameters:
        return NO_OPTIONS
    given = {name: value for name, value in parameters.items() if name not in _HARMLESS}
    return decode_form(given, Options) if given else NO_OPTIONS
