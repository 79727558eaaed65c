"""What the pipeline asks of a task, and the values that every task shares."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.batching.batcher import Batcher
from ingrain.models.loaded import LoadedModel
from ingrain.preprocess.image_input import ImageInput
from ingrain.vocabulary import Library

Rows = NDArray[np.float32]
Groups = AsyncGenerator[Sequence[Any], None]
"""Model inputs of one request, group by group, in order."""

Result_co = TypeVar("Result_co", covariant=True)
Result_contra = TypeVar("Result_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What one request may ask for.

    Attributes:
        max_items: Most texts and images.
        max_text_chars: Longest text in characters.
        timeout_s: Seconds until the answer is due.
    """

    max_items: int = 10_000
    max_text_chars: int = 200_000
    timeout_s: float = 60.0


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a request names it.

    A Struct, as are all values that are made for every request: a dataclass takes ten times as long.
    """

    name: str
    library: Library | None = None
    pretrained: str | None = None


class Task(Protocol[Result_co]):
    """One request's work on one graph of one model.

    The pipeline calls the methods in the order in which they stand here. A task is made for one request, and may keep
    what it learns from one method to the next.
    """

    @property
    def model(self) -> ModelName:
        """The model that the request names."""

    def __len__(self) -> int:
        """Return the number of items: texts, images, pairs."""

    def check(self, limits: RequestLimits) -> None:
        """Refuse what can be refused before the model is looked up.

        Raises:
            RequestError: The request is at fault.
        """

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Batcher[Any]:
        """Return the queue of the graph that computes the task.

        Raises:
            RequestError: The model cannot do this, or not in this way.
        """

    def prepare(self, model: LoadedModel, images: ImageInput) -> list[Any] | Groups:
        """Turn the items into model inputs.

        Args:
            model: The loaded model.
            images: Fetches and decodes images.

        Returns:
            A list of all inputs, where making it takes less time than handing it to a thread; else a generator of
            groups of them: one group is computed while the next is prepared.

        Raises:
            RequestError: An item is at fault.
        """

    def finish(self, model: LoadedModel, rows: Rows) -> Result_co:
        """Turn the graph's rows, ``float32 [N, ...]`` in the order of the items, into the result."""


class Caller(Protocol[Result_contra]):
    """Takes the result of a task. Exactly one of the two methods is called, once; neither may raise."""

    def done(self, result: Result_contra) -> None:
        """Take the result."""

    def failed(self, error: Exception) -> None:
        """Take the reason why there is none: an IngrainError, or a fault that nobody foresaw."""
