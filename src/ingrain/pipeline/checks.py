"""What a request may not ask for: each check raises a RequestError that names the field, the value and the limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import InvalidRequestError, TextTooLongError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.requests import Labels, ModelName, RequestLimits, Texts, VectorForm
from ingrain.postprocess.quantize import NEEDS_RANGES
from ingrain.preprocess.text import TokenizedText

_MOST_SENTENCE_CHARS = 10_000_000


def check_count(limits: RequestLimits, count: int, param: str, what: str) -> None:
    """Refuse too many items."""
    if count > limits.max_items:
        raise TooLargeError(
            f"The request has {count} {what}; the limit is {limits.max_items} (INGRAIN_MAX_ITEMS).",
            param=param,
            facts={"limit": limits.max_items},
        )


def check_sentences(limits: RequestLimits, labels: Labels) -> None:
    """Refuse sentences that are too long before they are built: a template may hold ``{}`` many times."""
    total = 0
    for number, template in enumerate(labels.templates):
        holes, fixed = template.count("{}"), len(template)
        lengths = [fixed + holes * (len(label) - 2) for label in labels.names]
        total += sum(lengths)
        if max(lengths) > limits.max_text_chars or total > _MOST_SENTENCE_CHARS:
            raise TooLargeError(
                f"templates[{number}] makes the labels longer than {limits.max_text_chars} characters each "
                f"(INGRAIN_MAX_TEXT_CHARS) or {_MOST_SENTENCE_CHARS} in all.",
                param=f"templates[{number}]",
                facts={"limit": limits.max_text_chars},
            )


def check_texts(limits: RequestLimits, texts: Texts) -> None:
    """Refuse too many texts, and texts that are too long."""
    param, longest = texts.param, limits.max_text_chars
    given = texts.texts if texts.token_ids is None else texts.token_ids
    check_count(limits, len(given), param, "texts" if param == "text" else param)
    for index, text in enumerate(given):
        if len(text) > longest:
            what = "characters" if texts.token_ids is None else "token ids"
            raise TooLargeError(
                f"{texts.name(index)} has {len(text)} {what}; the limit is {longest} (INGRAIN_MAX_TEXT_CHARS).",
                param=texts.name(index),
                facts={"limit": longest},
            )
    if texts.token_ids is not None and texts.prompt is not None:
        raise InvalidRequestError(
            "A prompt goes before text, not before token ids of the model's own tokenizer.", param=param
        )


def check_prompt(limits: RequestLimits, prompt: str | None, texts: Texts) -> None:
    """Refuse what a prompt makes too long before it is put before every text."""
    if not prompt or not texts.texts:
        return
    longest, limit = len(prompt) + max(map(len, texts.texts)), limits.max_text_chars
    if longest > limit or len(prompt) * len(texts.texts) > _MOST_SENTENCE_CHARS:
        raise TooLargeError(
            f"The prompt makes the texts longer than {limit} characters each (INGRAIN_MAX_TEXT_CHARS), or adds "
            f"more than {_MOST_SENTENCE_CHARS} in all.",
            param="prompt",
            facts={"limit": limit},
        )


def check_form(name: ModelName, form: VectorForm, model: LoadedModel) -> NDArray[np.float32] | None:
    """Return the ranges of the vectors where their form needs them.

    Raises:
        InvalidRequestError: The model has no such vectors.
    """
    width = model.manifest.embedding_size
    if form.dimensions is not None and form.dimensions > width:
        raise InvalidRequestError(
            f"{form.dimensions_param} is {form.dimensions}, and the vectors of model {name.name!r} have {width} "
            "dimensions.",
            param=form.dimensions_param,
            facts={"limit": width},
        )
    if form.dtype not in NEEDS_RANGES:
        return None
    if model.calibration is None:
        raise InvalidRequestError(
            f"Model {name.name!r} was stored without the ranges that {form.dtype} vectors need; delete it and load it "
            "again to have them measured.",
            param="outputDtype",
        )
    return model.calibration.ranges(dimensions=form.dimensions, normalize=form.normalize)


def refuse_long(texts: Texts, items: Sequence[TokenizedText], limit: int) -> None:
    """Refuse texts of which something was cut."""
    for index, item in enumerate(items):
        if item.cut_tokens:
            length = len(item) + item.cut_tokens
            raise TextTooLongError(
                f"{texts.name(index)} has {length} tokens; the model takes {limit}. Shorten it, or let it be cut by "
                "`truncate: true`.",
                param=texts.name(index),
                facts={"index": texts.place(index), "tokens": length, "limit": limit},
            )
