"""The whole path of a request: prepare → batch → infer → finish."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import (
    EngineUnavailableError,
    InvalidRequestError,
    ModalityError,
    ModelNotLoadedError,
    TooLargeError,
)
from ingrain.loaded_model import LoadedModel
from ingrain.postprocess.vectors import finish
from ingrain.registry.registry import Registry
from ingrain.repository.manifest import Library

Vectors = NDArray[np.float32]

_INLINE_CHARS = 4_000
_INLINE_TEXTS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What one request may ask for."""

    max_items: int = 10_000
    max_text_chars: int = 200_000
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextJob:
    """Texts to embed with one model."""

    name: str
    texts: Sequence[str]
    normalize: bool = True
    dimensions: int | None = None
    library: Library | None = None
    pretrained: str | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Turns requests into vectors."""

    registry: Registry
    limits: RequestLimits

    async def embed_text(self, job: TextJob) -> Vectors:
        """Embed texts.

        Returns:
            ``float32 [N, D]`` in the order of the texts, ``D`` cut to ``dimensions``.

        Raises:
            RequestError: The texts, the dimensions or the model's name are at fault.
            QueueFullError: Too much waits already.
            EngineError: The engine is away, broken or too slow.
        """
        self._check_texts(job.texts)
        model = await self._model(job.name, job.library, job.pretrained)
        if model.text is None or model.text_queue is None:
            raise ModalityError(f"Model {job.name!r} does not take text.", param="text")
        _check_dimensions(job, model.manifest.embedding_size)
        if len(job.texts) <= _INLINE_TEXTS and sum(map(len, job.texts)) <= _INLINE_CHARS:
            items = model.text.encode(job.texts)
        else:
            items = await asyncio.to_thread(model.text.encode, job.texts)
        try:
            rows = await model.text_queue.submit(items, timeout_s=self.limits.timeout_s)
        except EngineUnavailableError:
            self.registry.suspect()
            raise
        except ModelNotLoadedError as error:
            raise await self._explain_missing(job, error) from error
        return finish(rows, dimensions=job.dimensions, normalize=job.normalize)

    async def _model(self, name: str, library: Library | None, pretrained: str | None) -> LoadedModel:
        try:
            return self.registry.get(name, library=library, pretrained=pretrained)
        except ModelNotLoadedError:
            # Another process that shares the repository may have loaded it.
            if not await self.registry.refresh():
                raise
        return self.registry.get(name, library=library, pretrained=pretrained)

    async def _explain_missing(self, job: TextJob, error: ModelNotLoadedError) -> Exception:
        """Tell a model that was unloaded (404) from one that the engine has lost and will get back (503)."""
        await self.registry.refresh()
        try:
            self.registry.get(job.name, library=job.library, pretrained=job.pretrained)
        except ModelNotLoadedError:
            return error
        self.registry.suspect()
        return EngineUnavailableError(f"Model {job.name!r} is being loaded again.", retry_after_s=1.0)

    def _check_texts(self, texts: Sequence[str]) -> None:
        if len(texts) > self.limits.max_items:
            raise TooLargeError(
                f"The request has {len(texts)} texts; the limit is {self.limits.max_items} (INGRAIN_MAX_ITEMS).",
                param="text",
                facts={"limit": self.limits.max_items},
            )
        for index, text in enumerate(texts):
            if len(text) > self.limits.max_text_chars:
                raise TooLargeError(
                    f"text[{index}] has {len(text)} characters; the limit is {self.limits.max_text_chars} "
                    "(INGRAIN_MAX_TEXT_CHARS).",
                    param=f"text[{index}]",
                    facts={"limit": self.limits.max_text_chars},
                )


def _check_dimensions(job: TextJob, width: int) -> None:
    if job.dimensions is not None and job.dimensions > width:
        raise InvalidRequestError(
            f"nDims is {job.dimensions}, and the vectors of model {job.name!r} have {width} dimensions.",
            param="nDims",
            facts={"limit": width},
        )
