"""What requests ask of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ingrain.postprocess.quantize import AnyVectors, OutputDtype
from ingrain.preprocess.frame import CutSide
from ingrain.preprocess.prompts import PromptChoice
from ingrain.preprocess.text import TokenizedText
from ingrain.vocabulary import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What one request may ask for."""

    max_items: int = 10_000
    max_text_chars: int = 200_000
    timeout_s: float = 60.0


# Every request makes one of each of the next four: Structs, not dataclasses, for these are made in a tenth of the time.


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a request names it."""

    name: str
    library: Library | None = None
    pretrained: str | None = None


class VectorForm(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller wants the vectors to be: cut to ``dimensions``, then normalized, then quantized.

    Attributes:
        normalize: True for unit length.
        dimensions: Leading dimensions to keep; all if None.
        dtype: What the numbers become.
        dimensions_param: What the caller calls ``dimensions``, for errors.
    """

    normalize: bool = True
    dimensions: int | None = None
    dtype: OutputDtype = "float"
    dimensions_param: str = "nDims"


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of a request, and how they become tokens.

    Attributes:
        texts: The texts themselves; empty where ``token_ids`` are given.
        token_ids: Token ids by text, of the model's own tokenizer, in the place of texts.
        prompt: Which prompt goes before them; None for the model's default.
        truncate: False to refuse a text that is longer than the model takes, instead of cutting it.
        cut_side: Where to cut it; where the source library does if None.
        param: What the caller calls them, for errors.
        places: Index of each in the caller's list, where they are a part of it.
        is_list: False where the caller gave one text by itself.
    """

    texts: Sequence[str] = ()
    token_ids: Sequence[Sequence[int]] | None = None
    prompt: PromptChoice | None = None
    truncate: bool = True
    cut_side: CutSide | None = None
    param: str = "text"
    places: Sequence[int] | None = None
    is_list: bool = True

    def __len__(self) -> int:
        return len(self.texts if self.token_ids is None else self.token_ids)

    def place(self, index: int) -> int:
        """Return a text's index in the caller's list."""
        return index if self.places is None else self.places[index]

    def name(self, index: int) -> str:
        """Return what the caller calls one of the texts."""
        return f"{self.param}[{self.place(index)}]" if self.is_list else self.param


class EmbeddedTexts(msgspec.Struct, frozen=True):
    """Vectors of texts, and what became of the texts.

    Attributes:
        vectors: As ``quantize`` gives them, one row a text.
        items: The texts as the model got them.
    """

    vectors: AnyVectors
    items: Sequence[TokenizedText]

    @property
    def tokens(self) -> int:
        """How many tokens were computed, special tokens included, padding not."""
        return sum(map(len, self.items))

    @property
    def truncated(self) -> int:
        """How many texts were cut."""
        return sum([item.cut_tokens > 0 for item in self.items])  # a list: for one text in half the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures of a request.

    Attributes:
        images: URLs, data URIs, base64 or the bytes of files.
        headers: To fetch URLs with.
        param: What the caller calls them, for errors.
        places: Index of each in the caller's list, where they are a part of it.
    """

    images: Sequence[str | bytes]
    headers: Mapping[str, str] | None = None
    param: str = "image"
    places: Sequence[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels to choose among; each template makes a sentence of a label by its ``{}``."""

    names: tuple[str, ...]
    templates: tuple[str, ...] = ("{}",)
