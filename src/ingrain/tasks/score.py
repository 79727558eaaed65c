"""Scores texts and pairs of texts with a cross-encoder or a text classifier."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingrain.batching.request import Queue
from ingrain.errors import ModalityError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, ModelName, RequestLimits, Rows
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.tokenized import TokenizedText, cut_tokens_of
from ingrain.repository.manifest import Manifest, Scoring
from ingrain.tasks import pairs as of_pairs
from ingrain.tasks.pairs import Pairs, check_pairs, tokenizer_of
from ingrain.tasks.texts import Texts, check_texts, choose_prompt, prepare_texts

ROLE = "text_scorer"
"""Role of the graph that scores."""


class Scored(msgspec.Struct, frozen=True):
    """Logits of texts or pairs, with their tokens.

    Attributes:
        manifest: The model's manifest, which says what the logits are of.
        logits: float32 ``[N, K]``.
        items: The tokenized texts or pairs.
    """

    manifest: Manifest
    logits: Rows
    items: Sequence[TokenizedText]

    @property
    def scoring(self) -> Scoring:
        """How the logits become scores."""
        return self.manifest.scoring or Scoring()

    @property
    def truncated(self) -> int:
        """Number of truncated texts or pairs."""
        return sum(cut > 0 for cut in cut_tokens_of(self.items))


class ScoreTexts(msgspec.Struct, eq=False):
    """Scores texts; the result has a row of logits for each text, in order."""

    model: ModelName
    texts: Texts
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
        """Choose the prompt and return the queue of the scorer."""
        queue = model.text_queue("name", self.texts.cache_group, role=ROLE, what="classify or score texts")
        if model.text is not None and model.text.config.pair_template is not None:
            raise ModalityError(
                f"Model {model.manifest.name!r} scores pairs of texts, not single texts: its chat template needs both. "
                "Send pairs to POST /score, or a query with its documents to POST /rerank.",
                param=self.texts.param,
            )
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

    def finish(self, model: LoadedModel, rows: Rows) -> Scored:
        """Return the logits."""
        return Scored(model.manifest, rows, self._items)


class ScorePairs(msgspec.Struct, eq=False):
    """Scores pairs of texts; the result has a row of logits for each pair, in order."""

    model: ModelName
    pairs: Pairs
    _prompt: str | None = None
    _items: Sequence[TokenizedText] = ()
    _timeout_s: float = 0.0

    def __len__(self) -> int:
        return len(self.pairs)

    def item_name(self, index: int) -> str:
        """Return the name of a pair for errors."""
        return self.pairs.name(index)

    def check(self, limits: RequestLimits) -> None:
        """Refuse too many pairs and too long texts."""
        check_pairs(limits, self.pairs)
        self._timeout_s = limits.timeout_s

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Queue[TokenizedText]:
        """Choose the prompt and return the queue of the scorer."""
        cache_group = self.pairs.firsts.cache_group
        queue = model.text_queue("name", cache_group, role=ROLE, what="score pairs of texts")
        self._prompt = choose_prompt(self.pairs.firsts, model, limits)
        return queue

    def prepare(self, model: LoadedModel, images: ImageInput) -> Sequence[TokenizedText] | Groups:
        """Tokenize the pairs."""
        del images
        tokenizer = tokenizer_of(model)
        if of_pairs.is_short(self.pairs, self._prompt, tokenizer):
            self._items = of_pairs.tokenize(self.pairs, self._prompt, tokenizer)
            return self._items
        return self._tokenize_in_slices(model)

    async def _tokenize_in_slices(self, model: LoadedModel) -> Groups:
        self._items = await of_pairs.tokenize_in_slices(
            self.pairs, self._prompt, tokenizer_of(model), model.text_threads, timeout_s=self._timeout_s
        )
        yield self._items

    def finish(self, model: LoadedModel, rows: Rows) -> Scored:
        """Return the logits."""
        return Scored(model.manifest, rows, self._items)
