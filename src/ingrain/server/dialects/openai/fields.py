"""Fields of a request in OpenAI's dialect that say what a vector is to be, in the words of any API that has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Literal, TypeVar

import msgspec

from ingrain.api.openai import OpenAIEmbeddingsRequest
from ingrain.errors import InvalidRequestError
from ingrain.postprocess.quantize import OutputDtype
from ingrain.preprocess.prompts import PromptChoice, meaning_of
from ingrain.preprocess.special_tokens import CutSide
from ingrain.tasks.vectors import VectorForm

T = TypeVar("T")

_DIMENSIONS = ("dimensions", "output_dimension", "output_dimensions", "output_dimensionality", "truncate_dim", "n_dims")
_NORMALIZE = ("normalize", "normalized", "normalize_embeddings", "use_activation")
_INPUT_TYPE = ("input_type", "task", "task_type")
_TRUNCATE = ("truncate", "truncation")
_SIDES = ("truncation_side", "truncation_direction")
_KINDS = ("output_dtype", "embedding_type", "embedding_types")
_NORMS = {2: True, -1: False}  # llama.cpp's numbers of norms: Euclid's, and none

# What a text that is too long comes to, by the words for it in small letters: is it cut, and on which side.
_CUTS: dict[bool | str, tuple[bool, CutSide | None]] = {
    True: (True, None),
    "true": (True, None),
    "end": (True, "right"),
    "right": (True, "right"),
    "start": (True, "left"),
    "left": (True, "left"),
    False: (False, None),
    "false": (False, None),
    "none": (False, None),
}
_SIDE_WORDS: dict[str, CutSide] = {"left": "left", "right": "right"}

# Fields that ask for what cannot be had: the values that ask for what is done in any case, and what to do instead.
_REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "late_chunking": ((False,), "each item is embedded by itself"),
    "return_multivector": ((False,), "an item has one vector here"),
    "add_special_tokens": ((True,), "a text has the special tokens that the model was trained with"),
    "embed_dtype": (("float32",), "numbers are float32; output_dtype makes bytes or bits of them"),
    "endianness": (("little", "native"), "numbers in base64 are little-endian"),
    "instruction": (("",), "give what goes before a text as prompt"),
    "prompt_template": (("",), "give what goes before a text as prompt"),
}

_others = attrgetter(
    *_DIMENSIONS[1:],
    *_NORMALIZE[1:],
    *_INPUT_TYPE[1:],
    *_TRUNCATE,
    *_SIDES,
    *_KINDS[1:],
    *_REFUSED,
    "embd_normalize",
    "truncate_prompt_tokens",
)
_NO_OTHERS = _others(OpenAIEmbeddingsRequest(model="-", input="-"))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request wants made of its texts.

    Attributes:
        form: What the vectors are to be.
        as_base64: True for base64 of their float32 numbers.
        prompt: Which prompt goes before them; None for the model's default.
        truncate: False to refuse a text that is too long.
        cut_side: Where to cut it otherwise; where the source library does if None.
    """

    form: VectorForm
    as_base64: bool
    prompt: PromptChoice | None
    truncate: bool = True
    cut_side: CutSide | None = None


def read_wanted(body: OpenAIEmbeddingsRequest) -> Wanted:
    """Read the fields, those of other APIs included.

    Raises:
        InvalidRequestError: Two fields differ over one thing, or one asks for what cannot be had.
    """
    if _others(body) == _NO_OTHERS:  # nearly always
        form = VectorForm(
            normalize=body.normalize is not False,
            dimensions=body.dimensions,
            dtype=body.output_dtype or "float",
            dimensions_param="dimensions",
        )
        prompt = _prompt(body, "input_type", body.input_type)
        return Wanted(form=form, as_base64=_as_base64(body, body.output_dtype), prompt=prompt)
    _refuse(body)
    dimensions_param, dimensions = _agreed(body, _given(body, _DIMENSIONS)) or ("dimensions", None)
    kind_param, kind = _kind(body)
    truncate, cut_side = _cut(body)
    word_param, word = _input_type(body)
    form = VectorForm(
        normalize=_normalize(body),
        dimensions=dimensions,
        dtype=kind if kind is not None and kind != "base64" else "float",
        dimensions_param=dimensions_param,
    )
    if kind == "base64" and body.encoding_format == "float":
        raise _differ(body, kind_param, "encoding_format")
    return Wanted(
        form=form,
        as_base64=kind == "base64" or _as_base64(body, kind),
        prompt=_prompt(body, word_param, word),
        truncate=truncate,
        cut_side=cut_side,
    )


def _as_base64(body: OpenAIEmbeddingsRequest, kind: str | None) -> bool:
    # The official client asks for base64 by itself and takes what it gets for float32; a list it leaves alone.
    return body.encoding_format == "base64" and kind in (None, "float")


def _prompt(body: OpenAIEmbeddingsRequest, word_param: str, word: str | None) -> PromptChoice | None:
    if body.prompt is None and body.prompt_name is None and word is None:
        return None
    return PromptChoice(text=body.prompt, name=body.prompt_name, input_type=word, input_type_param=word_param)


def _refuse(body: OpenAIEmbeddingsRequest) -> None:
    for param, (harmless, reason) in _REFUSED.items():
        value = getattr(body, param)
        if value is not None and value not in harmless:
            raise InvalidRequestError(
                f"{param} is {_shown(value)}, which cannot be had: {reason}. Allowed: "
                f"{', '.join(_shown(allowed) for allowed in harmless)}, or leave it out.",
                param=param,
            )


def _normalize(body: OpenAIEmbeddingsRequest) -> bool:
    given = _given(body, _NORMALIZE)
    if (norm := body.embd_normalize) is not None:
        given.append(("embd_normalize", _among(_NORMS, "embd_normalize", norm)))
    agreed = _agreed(body, given)
    return agreed is None or agreed[1]


def _kind(body: OpenAIEmbeddingsRequest) -> tuple[str, OutputDtype | Literal["base64"] | None]:
    given = []
    for param, value in _given(body, _KINDS):
        values = value if isinstance(value, list) else [value]
        if len(values) != 1:
            raise InvalidRequestError(f"{param} names {len(values)} types; an answer has vectors of one.", param=param)
        given.append((param, values[0]))
    return _agreed(body, given) or ("output_dtype", None)


def _cut(body: OpenAIEmbeddingsRequest) -> tuple[bool, CutSide | None]:
    """Return whether what is too long is cut, and on which side."""
    cuts = [(param, _among(_CUTS, param, value)) for param, value in _given(body, _TRUNCATE)]
    if (most := body.truncate_prompt_tokens) is not None:
        cuts.append(("truncate_prompt_tokens", _among({-1: (True, None)}, "truncate_prompt_tokens", most)))
    sides = [(param, side) for param, (_, side) in cuts if side is not None]
    sides += [(param, _among(_SIDE_WORDS, param, value)) for param, value in _given(body, _SIDES)]
    is_cut, side = _agreed(body, [(param, is_cut) for param, (is_cut, _) in cuts]), _agreed(body, sides)
    return is_cut is None or is_cut[1], side and side[1]


def _input_type(body: OpenAIEmbeddingsRequest) -> tuple[str, str | None]:
    given = _given(body, _INPUT_TYPE)
    agreed = _agreed(body, [(param, meaning_of(word)) for param, word in given])
    return given[0] if agreed is not None else ("input_type", None)


def _given(body: OpenAIEmbeddingsRequest, params: Iterable[str]) -> list[tuple[str, Any]]:
    """Return the fields among these that are given, with their values."""
    return [(param, value) for param in params if (value := getattr(body, param)) is not None]


def _agreed(body: OpenAIEmbeddingsRequest, given: list[tuple[str, T]]) -> tuple[str, T] | None:
    """Return the first of several fields for one thing, each with what it stands for; None if there is none.

    Raises:
        InvalidRequestError: They differ.
    """
    for param, value in given[1:]:
        if value != given[0][1]:
            raise _differ(body, given[0][0], param)
    return given[0] if given else None


def _differ(body: OpenAIEmbeddingsRequest, first: str, second: str) -> InvalidRequestError:
    shown = (f"{param} ({_shown(getattr(body, param))})" for param in (first, second))
    return InvalidRequestError(f"{' and '.join(shown)} mean the same thing and differ; give one of them.", param=second)


def _among(allowed: Mapping[Any, T], param: str, value: object) -> T:
    """Return what a value stands for, capital letters or small."""
    key = value.lower() if isinstance(value, str) else value
    if key not in allowed:
        words = dict.fromkeys(_shown(word) for word in allowed)
        raise InvalidRequestError(
            f"{param} is {_shown(value)}, which is none of its values. Allowed: {', '.join(words)}.", param=param
        )
    return allowed[key]


def _shown(value: object) -> str:
    """Write a value as JSON has it, or nearly."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)[:100]
