"""Embeds texts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.batching.request import Queue
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, ModelName, RequestLimits, Rows
from ingrain.postprocess.quantize import AnyVectors
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.tokenized import TokenizedText, lengths_of
from ingrain.tasks.texts import Texts, check_texts, choose_prompt, count_truncated, prepare_texts
from ingrain.tasks.vectors import VectorForm, check_form, finish_vectors


class EmbeddedTexts(msgspec.Struct, frozen=True):
    """Vectors of texts, with the tokens of each text.

    Attributes:
        vectors: One row for each text, in the requested form.
        items: The tokenized texts.
    """

    vectors: AnyVectors
    items: Sequence[TokenizedText]

    @property
    def tokens(self) -> int:
        """Number of tokens, with special tokens and without padding."""
        return sum(lengths_of(self.items))

    @property
    def truncated(self) -> int:
        """Number of truncated texts."""
        return count_truncated(self.items)


class EmbedTexts(msgspec.Struct, eq=False):
    """Embeds texts; the result has one vector for each text, in order."""

    model: ModelName
    texts: Texts
    form: VectorForm
    _ranges: NDArray[np.float32] | None = None
    _prompt: str | None = None
    _items: Sequence[TokenizedText] = ()
    _timeout_s: float = 0.0

    def __len__(self) -> int:
        return len(self.texts)

    def item_name(self, index: int) -> str:
        """Return the name of a text for errors."""
        return self.texts.name(index)

    def check(self, limits: RequestLimits) -> None:
        """Refuse too many texts and too long texts."""
        check_texts(limits, self.texts)
        self._timeout_s = limits.timeout_s

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Queue[TokenizedText]:
        """Check the form of the vectors, choose the prompt and return the queue of the text encoder."""
        queue = model.text_queue(self.texts.param, self.texts.cache_group)
        # Almost every request has neither; a call less is a hundredth of what the front end spends on a short text.
        if self.form.dimensions is not None or self.form.dtype != "float":
            self._ranges = check_form(self.form, model)
        if self.texts.prompt is not None:
            self._prompt = choose_prompt(self.texts, model, limits)
        return queue

    def prepare(self, model: LoadedModel, images: ImageInput) -> Sequence[TokenizedText] | Groups:
        """Tokenize the texts."""
        del images
        assert model.text is not None
        return prepare_texts(self.texts, self._prompt, model.text, model, self._timeout_s, self.take)

    def take(self, model: LoadedModel, items: Sequence[TokenizedText]) -> Sequence[TokenizedText]:
        """Store the tokenized texts."""
        del model
        self._items = items
        return items

    def finish(self, model: LoadedModel, rows: Rows) -> EmbeddedTexts:
        """Convert the rows into the requested form."""
        del model
        return EmbeddedTexts(finish_vectors(rows, self.form, self._ranges), self._items)
