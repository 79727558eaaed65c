"""Embeds texts into sparse vectors."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingrain.batching.request import Queue
from ingrain.errors import InvalidRequestError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, ModelName, RequestLimits, Rows
from ingrain.postprocess.sparse import SparseVector, choose_entries
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.tasks.texts import Texts, check_texts, choose_prompt, count_truncated, prepare_texts
from ingrain.vocabulary import InputType, Role

SPARSE: Role = "sparse_encoder"
SPARSE_QUERIES: Role = "sparse_query_encoder"


class SparseForm(msgspec.Struct, frozen=True, kw_only=True):
    """The requested entries of sparse vectors.

    Attributes:
        top_k: Number of entries of largest weight to keep; None for all.
        min_weight: Least weight of an entry.
        with_tokens: True to return the token of each entry.
        input_type: Side of the search; None for the model's default.
    """

    top_k: int | None = None
    min_weight: float = 0.0
    with_tokens: bool = False
    input_type: InputType | None = None


class SparseTexts(msgspec.Struct, frozen=True):
    """Sparse vectors of texts, with the tokens of each text.

    Attributes:
        vectors: One for each text.
        tokens: The tokens of each vector's entries; None if not requested.
        items: The tokenized texts.
    """

    vectors: list[SparseVector]
    tokens: list[list[str]] | None
    items: Sequence[TokenizedText]

    @property
    def truncated(self) -> int:
        """Number of truncated texts."""
        return count_truncated(self.items)


class EmbedSparse(msgspec.Struct, eq=False):
    """Embeds texts into sparse vectors; the result has one vector for each text, in order."""

    model: ModelName
    texts: Texts
    form: SparseForm
    _prompt: str | None = None
    _tokenizer: TextPreprocessor | None = None
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
        """Choose the encoder and the prompt, and return the encoder's queue."""
        is_query = model.query_text is not None and self._input_type(model) == "query"
        role = SPARSE_QUERIES if is_query else SPARSE
        queue = model.text_queue("name", self.texts.cache_group, role, "make sparse vectors")
        if self.form.with_tokens and not model.manifest.has_token_dimensions:
            raise InvalidRequestError(
                f"The dimensions of model {model.manifest.name!r} are not tokens; leave `tokens` out.", param="tokens"
            )
        self._tokenizer = model.query_text if is_query else model.text
        if self.texts.prompt is not None:
            self._prompt = choose_prompt(self.texts, model, limits)
        return queue

    def _input_type(self, model: LoadedModel) -> InputType:
        chosen = self.form.input_type or model.manifest.default_input_type
        if chosen is None:
            raise InvalidRequestError(
                f"Model {model.manifest.name!r} has one encoder for queries and another for documents; send "
                "`inputType`: 'query' or 'document'.",
                param="inputType",
            )
        return chosen

    def prepare(self, model: LoadedModel, images: ImageInput) -> Sequence[TokenizedText] | Groups:
        """Tokenize the texts."""
        del images
        assert self._tokenizer is not None
        return prepare_texts(self.texts, self._prompt, self._tokenizer, model, self._timeout_s, self.take)

    def take(self, model: LoadedModel, items: Sequence[TokenizedText]) -> Sequence[TokenizedText]:
        """Store the tokenized texts."""
        del model
        self._items = items
        return items

    def finish(self, model: LoadedModel, rows: Rows) -> SparseTexts:
        """Choose the requested entries."""
        form = self.form
        vectors = [choose_entries(row, top_k=form.top_k, min_weight=form.min_weight) for row in rows]
        tokens = None
        if form.with_tokens:
            assert model.text is not None
            tokens = [model.text.tokens_of(vector.indices.tolist()) for vector in vectors]
        return SparseTexts(vectors, tokens, self._items)
