"""The interface of tasks, and the types that all tasks use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.batching.request import Queue
from ingrain.models.loaded import LoadedModel
from ingrain.preprocess.image_input import ImageInput
from ingrain.vocabulary import Library

Rows = NDArray[np.float32]
Groups = AsyncGenerator[Sequence[Any], None]
"""Yields groups of model inputs, in the order of a request's items."""

Result_co = TypeVar("Result_co", covariant=True)
Result_contra = TypeVar("Result_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Limits of one request.

    Attributes:
        max_items: Maximum number of texts and images.
        max_text_chars: Maximum length of a text in characters.
        timeout_s: Maximum time of a request in seconds.
        max_answer_bytes: Maximum bytes of the vectors of tokens in an answer, as float32.
    """

    max_items: int = 10_000
    max_text_chars: int = 200_000
    timeout_s: float = 60.0
    max_answer_bytes: int = 64 * 1024 * 1024


class ModelName(msgspec.Struct, frozen=True, kw_only=True):
    """The model that a request names.

    Types of which each request makes an instance are Structs: a dataclass takes ten times as long to make.
    """

    name: str
    library: Library | None = None
    pretrained: str | None = None


class Task(Protocol[Result_co]):
    """The work of one request on one graph of a model.

    The pipeline calls the methods in the order of their definition. A task belongs to one request, so its methods may
    store state for later ones. It may also have a method ``item_name(index)`` that returns the name of an item, such as
    ``text[3]``; errors of the engine that concern a single item then name it.
    """

    @property
    def model(self) -> ModelName:
        """Name of the requested model."""

    def __len__(self) -> int:
        """Return the number of items."""

    def check(self, limits: RequestLimits) -> None:
        """Check all that can be checked without the model.

        Raises:
            RequestError: The request is invalid.
        """

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Queue[Any]:
        """Return the queue of the graph that computes the task.

        Raises:
            RequestError: The model does not support the task or its options.
        """

    def prepare(self, model: LoadedModel, images: ImageInput) -> Sequence[Any] | Groups:
        """Turn the items into model inputs.

        Args:
            model: The loaded model.
            images: Downloads and decodes images.

        Returns:
            All inputs, if preparing them takes less time than starting a thread; else a generator of groups of inputs,
            so that one group is computed while the next is prepared.

        Raises:
            RequestError: An item is invalid.
        """

    def finish(self, model: LoadedModel, rows: Rows) -> Result_co:
        """Make the result from the graph's rows, ``float32 [N, ...]`` in the order of the items."""


class Caller(Protocol[Result_contra]):
    """Receives the result of a task. Exactly one of the methods is called, once; neither may raise."""

    def done(self, result: Result_contra) -> None:
        """Receive the result."""

    def failed(self, error: Exception) -> None:
        """Receive the error: an IngrainError, or any other exception if the code has a bug."""
