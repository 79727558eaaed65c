"""The whole path of a request: prepare → batch → infer → finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ingrain.batching.batcher import Batcher
from ingrain.errors import (
    DeadlineExceededError,
    EngineUnavailableError,
    InvalidRequestError,
    ModalityError,
    ModelNotLoadedError,
    TooLargeError,
)
from ingrain.loaded_model import LoadedModel
from ingrain.postprocess.probabilities import sigmoid, softmax
from ingrain.postprocess.vectors import finish
from ingrain.preprocess.image import Pixels
from ingrain.preprocess.image_input import ImageInput
from ingrain.registry.registry import Registry
from ingrain.repository.manifest import Library

Vectors = NDArray[np.float32]
Payload = TypeVar("Payload")
Result = TypeVar("Result")

_INLINE_CHARS = 4_000
_INLINE_TEXTS = 32
_MOST_SENTENCE_CHARS = 10_000_000
_LABEL_VECTORS_KEPT_BYTES = 32 * 1024 * 1024
_LABEL_SET_KEPT_BYTES = 4 * 1024 * 1024
_IMAGES_A_CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What one request may ask for."""

    max_items: int = 10_000
    max_text_chars: int = 200_000
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """A model as a request names it."""

    name: str
    library: Library | None = None
    pretrained: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorForm:
    """What the caller wants the vectors to be."""

    normalize: bool = True
    dimensions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures of a request: URLs, data URIs, base64 or the bytes of files; and headers to fetch URLs with."""

    images: Sequence[str | bytes]
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels to choose among; each template makes a sentence of a label by its ``{}``."""

    names: tuple[str, ...]
    templates: tuple[str, ...] = ("{}",)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Turns requests into vectors and probabilities.

    Its methods raise RequestError where the request is at fault, QueueFullError where too much waits already, and
    EngineError where the engine is away, broken or too slow.
    """

    registry: Registry
    images: ImageInput
    limits: RequestLimits

    async def embed_text(self, name: ModelName, texts: Sequence[str], form: VectorForm) -> Vectors:
        """Return ``float32 [N, D]`` in the order of the texts."""
        started = time.monotonic()
        self._check_texts(texts, "text")
        model = await self._model(name)
        _check_dimensions(name, form, model)
        rows = await self._encode_texts(name, model, texts, started)
        return finish(rows, dimensions=form.dimensions, normalize=form.normalize)

    async def embed_images(self, name: ModelName, pictures: Pictures, form: VectorForm) -> Vectors:
        """Return ``float32 [N, D]`` in the order of the pictures."""
        started = time.monotonic()
        self._check_count(len(pictures.images), "image", "images")
        model = await self._model(name)
        if model.image_queue is None:
            raise ModalityError(f"Model {name.name!r} does not embed images.", param="image")
        _check_dimensions(name, form, model)
        rows = await self._encode_images(name, model, model.image_queue, pictures, started)
        return finish(rows, dimensions=form.dimensions, normalize=form.normalize)

    async def embed_both(
        self, name: ModelName, texts: Sequence[str] | None, pictures: Pictures | None, form: VectorForm
    ) -> tuple[Vectors | None, Vectors | None]:
        """Embed texts and pictures side by side; the first failure ends the other."""
        count = len(texts or ()) + (len(pictures.images) if pictures is not None else 0)
        self._check_count(count, "text", "texts and images")
        try:
            async with asyncio.TaskGroup() as group:
                text_rows = group.create_task(self.embed_text(name, texts, form)) if texts is not None else None
                image_rows = (
                    group.create_task(self.embed_images(name, pictures, form)) if pictures is not None else None
                )
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        return (text_rows.result() if text_rows else None, image_rows.result() if image_rows else None)

    async def classify_images(self, name: ModelName, pictures: Pictures) -> Vectors:
        """Return probabilities, ``float32 [N, K]``, in the order of the model's labels."""
        started = time.monotonic()
        self._check_count(len(pictures.images), "image", "images")
        model = await self._model(name)
        if model.classifier_queue is None:
            hint = " Give label names to /classify_image_zero_shot." if model.manifest.similarity else ""
            raise ModalityError(f"Model {name.name!r} is not a classifier.{hint}", param="name")
        return softmax(await self._encode_images(name, model, model.classifier_queue, pictures, started))

    async def classify_zero_shot(self, name: ModelName, pictures: Pictures, labels: Labels) -> Vectors:
        """Return probabilities, ``float32 [N, K]``, in the order of the labels given.

        As OpenCLIP does it: a label's vector is the mean of its templates' unit vectors, brought to unit length again;
        cosines are scaled and shifted as the model learned it, then softmax (CLIP) or sigmoid (SigLIP).
        """
        started = time.monotonic()
        self._check_count(len(pictures.images), "image", "images")
        self._check_texts(labels.names, "labels")
        self._check_count(len(labels.names) * len(labels.templates), "labels", "labels times templates")
        self._check_sentences(labels)
        model = await self._model(name)
        similarity = model.manifest.similarity
        if similarity is None or model.image_queue is None:
            raise ModalityError(f"Model {name.name!r} does not compare images with texts.", param="name")
        targets = await self._label_vectors(name, model, labels, started)
        rows = await self._encode_images(name, model, model.image_queue, pictures, started)
        cosines = finish(rows, dimensions=None, normalize=True) @ targets.T
        scores = (similarity.scale * cosines + similarity.bias).astype(np.float32)
        return softmax(scores) if similarity.activation == "softmax" else sigmoid(scores)

    # --- stations ------------------------------------------------------------------------------------------------

    async def _encode_texts(self, name: ModelName, model: LoadedModel, texts: Sequence[str], started: float) -> Vectors:
        if model.text is None or model.text_queue is None:
            raise ModalityError(f"Model {name.name!r} does not take text.", param="text")
        model.text_queue.refuse_when_late(len(texts), self._time_left_s(started))
        if len(texts) <= _INLINE_TEXTS and sum(map(len, texts)) <= _INLINE_CHARS:
            items = model.text.encode(texts)
        else:
            items = await asyncio.to_thread(model.text.encode, texts)
        return await self._submit(name, model.text_queue, items, started)

    async def _encode_images(
        self, name: ModelName, model: LoadedModel, queue: Batcher[Pixels], pictures: Pictures, started: float
    ) -> Vectors:
        """Prepare and infer pictures, a chunk being inferred while the next is prepared.

        Only two chunks are pixels at a time, whatever a request holds.
        """
        assert model.image is not None
        self.images.check(pictures.images)
        running: asyncio.Task[Vectors] | None = None
        done: list[Vectors] = []
        try:
            for first in range(0, len(pictures.images), _IMAGES_A_CHUNK):
                chunk = pictures.images[first : first + _IMAGES_A_CHUNK]
                loading = self.images.load(chunk, model.image, headers=pictures.headers, first=first)
                pixels = await self._in_time(loading, started)
                if running is not None:
                    done.append(await running)
                running = asyncio.create_task(self._submit(name, queue, pixels, started))
            assert running is not None
            done.append(await running)
        except BaseException:  # cancellation too must take back what is being inferred
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            raise
        return done[0] if len(done) == 1 else np.concatenate(done)

    async def _label_vectors(self, name: ModelName, model: LoadedModel, labels: Labels, started: float) -> Vectors:
        key = (*labels.templates, "\0", *labels.names)
        known = model.label_vectors.get(key)
        if known is None:
            sentences = [template.replace("{}", label) for label in labels.names for template in labels.templates]
            rows = finish(await self._encode_texts(name, model, sentences, started), dimensions=None, normalize=True)
            means = rows.reshape(len(labels.names), len(labels.templates), -1).mean(axis=1)
            known = finish(means, dimensions=None, normalize=True)
            _keep(model, key, known)
        elif key in model.label_vectors:
            model.label_vectors.move_to_end(key)
        return known

    async def _submit(
        self, name: ModelName, queue: Batcher[Payload], items: Sequence[Payload], started: float
    ) -> Vectors:
        try:
            return await queue.submit(items, timeout_s=self._time_left_s(started))
        except EngineUnavailableError:
            self.registry.suspect()
            raise
        except ModelNotLoadedError as error:
            raise await self._explain_missing(name, error) from error

    async def _in_time(self, work: Awaitable[Result], started: float) -> Result:
        try:
            async with asyncio.timeout(self._time_left_s(started)):
                return await work
        except TimeoutError:
            raise self._late() from None

    def _time_left_s(self, started: float) -> float:
        left = self.limits.timeout_s - (time.monotonic() - started)
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"The request was not finished within {self.limits.timeout_s:g} s (INGRAIN_REQUEST_TIMEOUT_S)."
        )

    # --- models --------------------------------------------------------------------------------------------------

    async def _model(self, name: ModelName) -> LoadedModel:
        try:
            return self.registry.get(name.name, library=name.library, pretrained=name.pretrained)
        except ModelNotLoadedError:
            # Another process that shares the repository may have loaded it.
            if not await self.registry.refresh():
                raise
        return self.registry.get(name.name, library=name.library, pretrained=name.pretrained)

    async def _explain_missing(self, name: ModelName, error: ModelNotLoadedError) -> Exception:
        """Tell a model that was unloaded (404) from one that the engine has lost and will get back (503)."""
        await self.registry.refresh()
        try:
            self.registry.get(name.name, library=name.library, pretrained=name.pretrained)
        except ModelNotLoadedError:
            return error
        self.registry.suspect()
        return EngineUnavailableError(f"Model {name.name!r} is being loaded again.", retry_after_s=1.0)

    # --- checks --------------------------------------------------------------------------------------------------

    def _check_count(self, count: int, param: str, what: str) -> None:
        if count > self.limits.max_items:
            raise TooLargeError(
                f"The request has {count} {what}; the limit is {self.limits.max_items} (INGRAIN_MAX_ITEMS).",
                param=param,
                facts={"limit": self.limits.max_items},
            )

    def _check_sentences(self, labels: Labels) -> None:
        """Refuse sentences that are too long before they are built: a template may hold ``{}`` many times."""
        total = 0
        for number, template in enumerate(labels.templates):
            holes, fixed = template.count("{}"), len(template)
            lengths = [fixed + holes * (len(label) - 2) for label in labels.names]
            total += sum(lengths)
            if max(lengths) > self.limits.max_text_chars or total > _MOST_SENTENCE_CHARS:
                raise TooLargeError(
                    f"templates[{number}] makes the labels longer than {self.limits.max_text_chars} characters each "
                    f"(INGRAIN_MAX_TEXT_CHARS) or {_MOST_SENTENCE_CHARS} in all.",
                    param=f"templates[{number}]",
                    facts={"limit": self.limits.max_text_chars},
                )

    def _check_texts(self, texts: Sequence[str], param: str) -> None:
        self._check_count(len(texts), param, "texts" if param == "text" else param)
        for index, text in enumerate(texts):
            if len(text) > self.limits.max_text_chars:
                raise TooLargeError(
                    f"{param}[{index}] has {len(text)} characters; the limit is {self.limits.max_text_chars} "
                    "(INGRAIN_MAX_TEXT_CHARS).",
                    param=f"{param}[{index}]",
                    facts={"limit": self.limits.max_text_chars},
                )


def _keep(model: LoadedModel, key: tuple[str, ...], vectors: Vectors) -> None:
    """Keep the vectors of a label set for later requests, and forget the sets least lately used."""
    kept = model.label_vectors
    if vectors.nbytes + sum(map(len, key)) <= _LABEL_SET_KEPT_BYTES:
        kept[key] = vectors
        while sum(rows.nbytes for rows in kept.values()) > _LABEL_VECTORS_KEPT_BYTES:
            kept.popitem(last=False)


def _check_dimensions(name: ModelName, form: VectorForm, model: LoadedModel) -> None:
    width = model.manifest.embedding_size
    if form.dimensions is not None and form.dimensions > width:
        raise InvalidRequestError(
            f"nDims is {form.dimensions}, and the vectors of model {name.name!r} have {width} dimensions.",
            param="nDims",
            facts={"limit": width},
        )
