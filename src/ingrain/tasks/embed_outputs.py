"""Embeds texts in several ways at once: as dense, sparse and several vectors of one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from ingrain.batching.ragged import split_rows
from ingrain.batching.request import Queue
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, ModelName, RequestLimits, Rows
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.repository.manifest import Manifest
from ingrain.roles import ROLES
from ingrain.tasks.embed_sparse import SPARSE, EmbedSparse, SparseTexts
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.texts import Texts, choose_prompt, prepare_texts
from ingrain.tasks.token_vectors import MULTI_VECTOR, EmbedTokens, TokenVectors
from ingrain.vocabulary import Output, Role

Embedding = EmbedTexts | EmbedSparse | EmbedTokens
Embedded = EmbeddedTexts | SparseTexts | TokenVectors

OUTPUT_ROLES: dict[Output, Role] = {"dense": "text_encoder", "sparse": SPARSE, "multiVector": MULTI_VECTOR}
"""The role that gives each output."""


class EmbedOutputs(msgspec.Struct, eq=False):
    """Runs the tasks of several outputs as one; the result has theirs.

    Attributes:
        tasks: The task of each output, at least one; all for the same model and the same texts.
    """

    tasks: Mapping[Output, Embedding]
    _timeout_s: float = 0.0
    _prompt: str | None = None

    @property
    def model(self) -> ModelName:
        """Name of the requested model."""
        return self._first.model

    def __len__(self) -> int:
        return len(self._first)

    def item_name(self, index: int) -> str:
        """Return the name of a text for errors."""
        return self._first.item_name(index)

    def check(self, limits: RequestLimits) -> None:
        """Refuse too many texts and too long texts."""
        for task in self.tasks.values():
            task.check(limits)
        self._timeout_s = limits.timeout_s

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Queue[TokenizedText]:
        """Check that the model has all outputs in the requested form, and return the queue that computes them at once.

        Raises:
            ModalityError: The model lacks an output.
        """
        queues = [task.admit(model, limits) for task in self.tasks.values()]
        self._prompt = choose_prompt(self._texts, model, limits)
        if len(queues) == 1:
            return queues[0]
        # Vectors of tokens are too large for the cache.
        cache_group = None if "multiVector" in self.tasks else self._texts.cache_group
        return model.joint_queue(self._roles, "outputs", cache_group)

    def prepare(self, model: LoadedModel, images: ImageInput) -> Sequence[TokenizedText] | Groups:
        """Tokenize the texts, once for all outputs."""
        if len(self.tasks) == 1:
            return self._first.prepare(model, images)
        assert model.text is not None
        return prepare_texts(self._texts, self._prompt, model.text, model, self._timeout_s, self._take)

    def finish(self, model: LoadedModel, rows: Rows) -> dict[Output, Embedded]:
        """Return the result of each output."""
        if len(self.tasks) == 1:
            kinds = [rows]
        else:
            kinds = split_rows(rows, [_width(model.manifest, role) for role in self._roles])
        return {
            output: task.finish(model, _stacked(kind) if isinstance(task, EmbedTexts) else kind)
            for (output, task), kind in zip(self.tasks.items(), kinds, strict=True)
        }

    def _take(self, model: LoadedModel, items: Sequence[TokenizedText]) -> Sequence[TokenizedText]:
        """Give each task the texts; return those that say which tokens have a vector, if such vectors are asked for."""
        taken = [task.take(model, items) for task in self.tasks.values()]
        return next(
            (own for task, own in zip(self.tasks.values(), taken, strict=True) if isinstance(task, EmbedTokens)), items
        )

    @property
    def _first(self) -> Embedding:
        return next(iter(self.tasks.values()))

    @property
    def _texts(self) -> Texts:
        return self._first.texts

    @property
    def _roles(self) -> tuple[Role, ...]:
        return tuple(OUTPUT_ROLES[output] for output in self.tasks)


def _width(manifest: Manifest, role: Role) -> int:
    """Return the width of a role's rows; entries of sparse vectors have an index and a value."""
    return 2 if ROLES[role].gives_entries else manifest.width_of(role)


def _stacked(rows: Rows) -> Rows:
    """Return dense vectors, ``float32 [N, D]``, of which the queue of several outputs gives one array for each text."""
    return np.concatenate(list(rows)) if rows.dtype == object else rows
