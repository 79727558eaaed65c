"""Reads the embedding options of a request in OpenAI's dialect, including the names that other APIs give them."""

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
Kind = OutputDtype | Literal["base64"]
"""A number type of vectors, or float32 numbers in base64."""

_DIMENSIONS = ("dimensions", "output_dimension", "output_dimensions", "output_dimensionality", "truncate_dim", "n_dims")
_NORMALIZE = ("normalize", "normalized", "normalize_embeddings", "use_activation")
_INPUT_TYPE = ("input_type", "task", "task_type")
_TRUNCATE = ("truncate", "truncation")
_SIDES = ("truncation_side", "truncation_direction")
_DTYPES = ("output_dtype", "embedding_type", "embedding_types", "encoding_type")
_FORMATS = (None, "float", "base64")  # of `encoding_format` in OpenAI's own API
_NORMS = {2: True, -1: False}  # llama.cpp's numbers: Euclidean norm, no normalization

# Values of truncation fields in lower case: (whether a too long text is truncated, the side that is cut).
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
_SIDE_VALUES: dict[str, CutSide] = {"left": "left", "right": "right"}

# Unsupported fields of other APIs: (values that change nothing and are accepted, why others are refused).
_UNSUPPORTED: dict[str, tuple[tuple[object, ...], str]] = {
    "late_chunking": ((False,), "each item is embedded separately"),
    "return_multivector": ((False,), "each item has one vector"),
    "add_special_tokens": ((True,), "texts always get the model's special tokens"),
    "embed_dtype": (("float32",), "vectors are float32; use output_dtype to quantize them"),
    "endianness": (("little", "native"), "base64 holds little-endian numbers"),
    "chat_template": (("",), "a message is embedded as it is"),
    "mm_processor_kwargs": (({},), "images are prepared as the model's files say"),
    "instruction": (("",), "use prompt"),
    "prompt_template": (("",), "use prompt"),
}

_others = attrgetter(
    *_DIMENSIONS[1:],
    *_NORMALIZE[1:],
    *_INPUT_TYPE[1:],
    *_TRUNCATE,
    *_SIDES,
    *_DTYPES[1:],
    *_UNSUPPORTED,
    "embd_normalize",
    "truncate_prompt_tokens",
)
_NO_OTHERS = _others(OpenAIEmbeddingsRequest(model="-", input="-"))


class EmbeddingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Embedding options of a request.

    Attributes:
        form: Form of the vectors.
        as_base64: True to write vectors as base64 of their float32 numbers.
        kinds: The number types of each vector, if there are several; ``base64`` is one of them.
        prompt: Prompt for the texts; None for the model's default prompt.
        truncate: False to refuse too long texts instead of truncating them.
        cut_side: Side on which texts are truncated; None for the source library's side.
        max_tokens: Maximum tokens of a text, if that is less than the model's; None for the model's.
        cache_group: Group of requests that share cached rows; None to compute all rows.
    """

    form: VectorForm
    as_base64: bool
    prompt: PromptChoice | None
    kinds: tuple[Kind, ...] = ()
    truncate: bool = True
    cut_side: CutSide | None = None
    max_tokens: int | None = None
    cache_group: int | None = 0


def read_options(body: OpenAIEmbeddingsRequest, cache_group: int | None = 0) -> EmbeddingOptions:
    """Read the options from the fields of OpenAI, of Ingrain and of other APIs.

    Args:
        body: Body of the request.
        cache_group: Group of requests that share cached rows; it follows from the headers.

    Raises:
        InvalidRequestError: Two fields for one option differ, or a value is not supported.
    """
    if _others(body) == _NO_OTHERS and body.encoding_format in _FORMATS:  # the common case, and the fast path
        form = VectorForm(
            normalize=body.normalize is not False,
            dimensions=body.dimensions,
            dtype=body.output_dtype or "float",
            dimensions_param="dimensions",
        )
        prompt = _prompt(body, "input_type", body.input_type)
        as_base64 = _as_base64(body, body.output_dtype)
        return EmbeddingOptions(form=form, as_base64=as_base64, prompt=prompt, cache_group=cache_group)
    _refuse_unsupported(body)
    dimensions_param, dimensions = _agreed(body, _given(body, _DIMENSIONS)) or ("dimensions", None)
    kinds_param, kinds = _kinds(body)
    dtype = kinds[0] if len(kinds) == 1 else None
    truncate, cut_side = _cut(body)
    input_type_param, input_type = _input_type(body)
    form = VectorForm(
        normalize=_normalize(body),
        dimensions=dimensions,
        dtype=dtype if dtype is not None and dtype != "base64" else "float",
        dimensions_param=dimensions_param,
        dtype_param=kinds_param,
    )
    if dtype == "base64" and body.encoding_format == "float":
        raise _differ(body, kinds_param, "encoding_format")
    return EmbeddingOptions(
        form=form,
        as_base64=dtype == "base64" or _as_base64(body, dtype),
        prompt=_prompt(body, input_type_param, input_type),
        kinds=kinds if len(kinds) > 1 else (),
        truncate=truncate,
        cut_side=cut_side,
        max_tokens=body.truncate_prompt_tokens if body.truncate_prompt_tokens != -1 else None,
        cache_group=cache_group,
    )


def _as_base64(body: OpenAIEmbeddingsRequest, dtype: str | None) -> bool:
    # OpenAI's client asks for base64 by default and decodes it as float32, so other types are written as lists.
    return body.encoding_format == "base64" and dtype in (None, "float")


def _prompt(body: OpenAIEmbeddingsRequest, input_type_param: str, input_type: str | None) -> PromptChoice | None:
    if body.prompt is None and body.prompt_name is None and input_type is None:
        return None
    return PromptChoice(
        text=body.prompt, name=body.prompt_name, input_type=input_type, input_type_param=input_type_param
    )


def _refuse_unsupported(body: OpenAIEmbeddingsRequest) -> None:
    for param, (accepted, reason) in _UNSUPPORTED.items():
        value = getattr(body, param)
        if value is not None and value not in accepted:
            raise InvalidRequestError(
                f"{param} is {_shown(value)}, which is not supported: {reason}. Allowed: "
                f"{', '.join(map(_shown, accepted))}, or leave it out.",
                param=param,
            )


def _normalize(body: OpenAIEmbeddingsRequest) -> bool:
    given = _given(body, _NORMALIZE)
    if (norm := body.embd_normalize) is not None:
        given.append(("embd_normalize", _lookup(_NORMS, "embd_normalize", norm)))
    agreed = _agreed(body, given)
    return agreed is None or agreed[1]


def _kinds(body: OpenAIEmbeddingsRequest) -> tuple[str, tuple[Kind, ...]]:
    """Return the number types that are asked for, without repetitions, and the field that names them."""
    given = _given(body, _DTYPES)
    if body.encoding_format not in _FORMATS:
        given.append(("encoding_format", body.encoding_format))
    lists = []
    for param, value in given:
        kinds = tuple(dict.fromkeys(value if isinstance(value, list) else [value]))
        if not kinds:
            raise InvalidRequestError(f"{param} has no types; give one at least.", param=param)
        lists.append((param, kinds))
    return _agreed(body, lists) or ("output_dtype", ())


def _cut(body: OpenAIEmbeddingsRequest) -> tuple[bool, CutSide | None]:
    """Return whether too long texts are truncated, and on which side."""
    cuts = [(param, _lookup(_CUTS, param, value)) for param, value in _given(body, _TRUNCATE)]
    if (limit := body.truncate_prompt_tokens) is not None:
        if limit != -1 and limit < 1:
            raise InvalidRequestError(
                f"truncate_prompt_tokens is {limit}; it must be a number of tokens, or -1 for the model's maximum.",
                param="truncate_prompt_tokens",
            )
        cuts.append(("truncate_prompt_tokens", (True, None)))
    sides = [(param, side) for param, (_, side) in cuts if side is not None]
    sides += [(param, _lookup(_SIDE_VALUES, param, value)) for param, value in _given(body, _SIDES)]
    is_cut, side = _agreed(body, [(param, is_cut) for param, (is_cut, _) in cuts]), _agreed(body, sides)
    return is_cut is None or is_cut[1], side and side[1]


def _input_type(body: OpenAIEmbeddingsRequest) -> tuple[str, str | None]:
    given = _given(body, _INPUT_TYPE)
    agreed = _agreed(body, [(param, meaning_of(word)) for param, word in given])
    return given[0] if agreed is not None else ("input_type", None)


def _given(body: OpenAIEmbeddingsRequest, params: Iterable[str]) -> list[tuple[str, Any]]:
    """Return those of the fields that the request has, with their values."""
    return [(param, value) for param in params if (value := getattr(body, param)) is not None]


def _agreed(body: OpenAIEmbeddingsRequest, given: list[tuple[str, T]]) -> tuple[str, T] | None:
    """Return the first of several fields for one option, with its value; None if no field is given.

    Raises:
        InvalidRequestError: The values differ.
    """
    for param, value in given[1:]:
        if value != given[0][1]:
            raise _differ(body, given[0][0], param)
    return given[0] if given else None


def _differ(body: OpenAIEmbeddingsRequest, first: str, second: str) -> InvalidRequestError:
    shown = (f"{param} ({_shown(getattr(body, param))})" for param in (first, second))
    return InvalidRequestError(
        f"{' and '.join(shown)} are the same option with different values; give one of them.", param=second
    )


def _lookup(allowed: Mapping[Any, T], param: str, value: object) -> T:
    """Return the meaning of a value; strings are case-insensitive."""
    key = value.lower() if isinstance(value, str) else value
    if key not in allowed:
        raise InvalidRequestError(
            f"{param} is {_shown(value)}; it must be one of {', '.join(map(_shown, allowed))}.", param=param
        )
    return allowed[key]


def _shown(value: object) -> str:
    """Return a value for an error message, at most 100 characters."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)[:100]
