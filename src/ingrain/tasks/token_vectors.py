"""Embeds the tokens of texts: one vector for each token, for late interaction or as they are before pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from ingrain.batching.request import Queue
from ingrain.errors import InvalidRequestError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, ModelName, RequestLimits, Rows
from ingrain.postprocess.quantize import AnyVectors
from ingrain.postprocess.token_vectors import TokenDtype, finish_tokens
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.token_vectors import keep_all, skip_tokens, token_counts, vector_counts
from ingrain.preprocess.tokenized import TokenizedText, cut_tokens_of
from ingrain.tasks.texts import Texts, check_texts, choose_prompt, prepare_texts
from ingrain.vocabulary import InputType, Role

MULTI_VECTOR: Role = "multi_vector_encoder"
TOKENS: Role = "token_encoder"

_FLOAT_BYTES = 4


class TokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the vectors of tokens: first cut to ``dimensions``, then normalized, then converted.

    Attributes:
        normalize: True to scale vectors to unit length; None to do so only where a cut or ``int8`` needs it.
        dimensions: Number of leading dimensions to keep; None to keep all.
        dtype: Number type.
    """

    normalize: bool | None = None
    dimensions: int | None = None
    dtype: TokenDtype = "float"


class TokenVectors(msgspec.Struct, frozen=True):
    """Vectors of the tokens of several texts.

    Attributes:
        rows: The vectors of each text as the graph gives them, an array of ``float32 [t, D]``.
        form: The requested form.
        items: The tokenized texts.
        tokenizer: The tokenizer of the texts.
    """

    rows: Rows
    form: TokenForm
    items: Sequence[TokenizedText]
    tokenizer: TextPreprocessor

    def vectors(self) -> AnyVectors:
        """Return all vectors in the requested form, the texts one after the other."""
        form = self.form
        needs_unit_length = form.dimensions is not None or form.dtype == "int8"
        return finish_tokens(
            np.concatenate(list(self.rows)),
            dimensions=form.dimensions,
            normalize=needs_unit_length if form.normalize is None else form.normalize,
            dtype=form.dtype,
        )

    def tokens(self) -> list[list[str]]:
        """Return the tokens of each text, as the vocabulary has them."""
        counts = zip(self.items, self.counts, strict=True)
        ids = [np.frombuffer(item.packed_ids, np.int64)[:count] for item, count in counts]  # added ones come last
        return [self.tokenizer.tokens_of(some.tolist()) for some in ids]

    @property
    def counts(self) -> list[int]:
        """Number of vectors of each text."""
        return vector_counts(self.items)

    @property
    def token_counts(self) -> list[int]:
        """Number of tokens of each text, with prompt and special tokens and without those of a query's expansion."""
        return token_counts(self.items)

    @property
    def was_truncated(self) -> list[bool]:
        """Whether each text was truncated."""
        return [cut > 0 for cut in cut_tokens_of(self.items)]

    @property
    def truncated(self) -> int:
        """Number of truncated texts."""
        return sum(self.was_truncated)


class EmbedTokens(msgspec.Struct, eq=False):
    """Embeds the tokens of texts; the result has as many vectors for each text as it has tokens that count.

    Attributes:
        model: Name of the model.
        texts: The texts; their prompt is already that of their side.
        form: Form of the vectors.
        side: Whether the texts are queries or documents; ignored by models that make no difference.
        kept: ``scored``: the vectors that late interaction uses; ``all``: one for each of a text's own tokens.
        is_answer: False if the vectors are used here, so that the limit of an answer does not hold.
    """

    model: ModelName
    texts: Texts
    form: TokenForm = TokenForm()
    side: InputType = "document"
    kept: Literal["scored", "all"] = "scored"
    is_answer: bool = True
    _prompt: str | None = None
    _items: Sequence[TokenizedText] = ()
    _timeout_s: float = 0.0
    _most_bytes: int = 0
    _role: Role = MULTI_VECTOR

    def __len__(self) -> int:
        return len(self.texts)

    def item_name(self, index: int) -> str:
        """Return the name of a text for errors."""
        return self.texts.name(index)

    def check(self, limits: RequestLimits) -> None:
        """Refuse too many texts and too long texts."""
        check_texts(limits, self.texts)
        self._timeout_s = limits.timeout_s
        self._most_bytes = limits.max_answer_bytes

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Queue[TokenizedText]:
        """Check the form of the vectors, choose the prompt and return the queue of the graph that embeds tokens.

        Raises:
            ModalityError: The model gives no vectors of tokens.
            InvalidRequestError: The model cannot give vectors of this form, or has no such prompt.
        """
        what = "make several vectors of a text"
        if self.kept == "all" and MULTI_VECTOR not in model.manifest.roles:
            self._role, what = TOKENS, 'embed tokens unless it is loaded with `task` "embed_tokens"'
        queue = model.queue(self._role, "name", what)
        self._check_form(model)
        self._prompt = choose_prompt(self.texts, model, limits)
        return queue

    def prepare(self, model: LoadedModel, images: ImageInput) -> Sequence[TokenizedText] | Groups:
        """Tokenize the texts.

        Raises:
            TooLargeError: The answer would be too large.
        """
        del images
        tokenizer = self._tokenizer(model)
        return prepare_texts(self.texts, self._prompt, tokenizer, model, self._timeout_s, self.take)

    def finish(self, model: LoadedModel, rows: Rows) -> TokenVectors:
        """Return the rows, an array of ``float32 [t, D]`` for each text, with their form and texts."""
        return TokenVectors(rows, self.form, self._items, self._tokenizer(model))

    def _tokenizer(self, model: LoadedModel) -> TextPreprocessor:
        tokenizer = model.query_text if self.side == "query" else None
        tokenizer = tokenizer or model.text
        assert tokenizer is not None
        return tokenizer

    def take(self, model: LoadedModel, items: Sequence[TokenizedText]) -> Sequence[TokenizedText]:
        """Store the tokenized texts with the tokens that count, and refuse those with too many for an answer.

        Raises:
            TooLargeError: The answer would be too large.
        """
        if self.kept == "all":
            items = [keep_all(item) for item in items]
        elif skipped := model.manifest.skipped_tokens(self._role):
            items = [skip_tokens(item, skipped) for item in items]
        self._items = items
        width, count = model.manifest.width_of(self._role), sum(vector_counts(items))
        if self.is_answer and count * width * _FLOAT_BYTES > self._most_bytes:
            most = self._most_bytes // (width * _FLOAT_BYTES)
            raise TooLargeError(
                f"{self.texts.param} has {count} tokens with a vector of {width} numbers; the limit of an answer is "
                f"{most} such vectors, {self._most_bytes} bytes (INGRAIN_MAX_ANSWER_BYTES). Send fewer texts.",
                param=self.texts.param,
                facts={"limit": most},
            )
        return self._items

    def _check_form(self, model: LoadedModel) -> None:
        form, name, width = self.form, model.manifest.name, model.manifest.width_of(self._role)
        if form.dimensions is not None and form.dimensions > width:
            raise InvalidRequestError(
                f"nDims is {form.dimensions}, but the vectors of model {name!r} have {width} dimensions.",
                param="nDims",
                facts={"limit": width},
            )
        if form.dtype == "int8" and form.normalize is False:
            raise InvalidRequestError(
                "int8 vectors of tokens always have unit length; leave out `normalize`, or use another `outputDtype`.",
                param="normalize",
            )
