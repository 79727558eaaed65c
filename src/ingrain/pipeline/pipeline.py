"""The whole path of a request: prepare → batch → infer → finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.batching.batcher import Batcher
from ingrain.errors import (
    DeadlineExceededError,
    EngineUnavailableError,
    IngrainError,
    ModalityError,
    ModelNotLoadedError,
)
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.checks import check_count, check_form, check_prompt, check_sentences, check_texts, refuse_long
from ingrain.pipeline.requests import EmbeddedTexts, Labels, ModelName, Pictures, RequestLimits, Texts, VectorForm
from ingrain.postprocess.probabilities import sigmoid, softmax
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors, quantize
from ingrain.postprocess.vectors import finish
from ingrain.preprocess.image import Pixels
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.prompts import resolve_prompt
from ingrain.preprocess.text import TextPreprocessor, TokenizedText
from ingrain.registry.models import Models

Vectors = NDArray[np.float32]
Payload = TypeVar("Payload")
Result = TypeVar("Result")

_INLINE_CHARS = 4_000
_INLINE_TEXTS = 32
_LABEL_VECTORS_KEPT_BYTES = 32 * 1024 * 1024
_LABEL_SET_KEPT_BYTES = 4 * 1024 * 1024
_IMAGES_A_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Turns requests into vectors and probabilities.

    Its methods raise RequestError where the request is at fault, QueueFullError where too much waits already, and
    EngineError where the engine is away, broken or too slow.
    """

    registry: Models
    images: ImageInput
    limits: RequestLimits

    async def embed_text(self, name: ModelName, texts: Texts, form: VectorForm) -> EmbeddedTexts:
        """Return vectors in the order of the texts."""
        started = time.monotonic()
        check_texts(self.limits, texts)
        model = await self._model(name)
        ranges = check_form(name, form, model)
        rows, items = await self._encode_texts(name, model, texts, started)
        return EmbeddedTexts(_finish(rows, form, ranges), items)

    def embed_text_soon(
        self, name: ModelName, texts: Texts, form: VectorForm, caller: Caller
    ) -> Callable[[], None] | None:
        """Do what ``embed_text`` does for few short texts, without a coroutine and a task to run it.

        A task and a future by themselves take some 9 µs, where a short text takes the front end about 120.

        Args:
            name: Which model.
            texts: The texts.
            form: What the vectors are to be.
            caller: Is told later, never before this returns.

        Returns:
            What to call when nobody wants the answer any more; None where ``embed_text`` has to be awaited instead.

        Raises:
            RequestError: The request is at fault; the caller is not told then.
            QueueFullError: Too much waits already.
            EngineError: The model is not ready.
        """
        if not _is_short(texts, None):
            return None
        check_texts(self.limits, texts)
        try:
            model = self.registry.get(name.name, library=name.library, pretrained=name.pretrained)
        except ModelNotLoadedError:
            return None  # another process may have loaded it
        ranges = check_form(name, form, model)
        timeout_s = self.limits.timeout_s
        tokenizer, queue, prompt = self._admit(name, model, texts, timeout_s)
        if not _is_short(texts, prompt):
            return None
        items = tokenizer.encode(texts.texts, prompt=prompt, cut_side=texts.cut_side)
        if not texts.truncate:
            refuse_long(texts, items, tokenizer.config.max_tokens)
        waiter = _WaitsForTexts(self, name, form, ranges, items, caller)
        return queue.put(items, waiter, timeout_s=timeout_s, is_let_in=True)

    async def embed_images(self, name: ModelName, pictures: Pictures, form: VectorForm) -> AnyVectors:
        """Return vectors in the order of the pictures."""
        started = time.monotonic()
        check_count(self.limits, len(pictures.images), pictures.param, "images")
        model = await self._model(name)
        if model.image_queue is None:
            raise ModalityError(f"Model {name.name!r} does not embed images.", param=pictures.param)
        if form.dtype in NEEDS_RANGES:
            raise ModalityError(
                f"{form.dtype} vectors need ranges, which are measured on texts, and images have others; "
                "float, binary and ubinary are what images can have.",
                param="outputDtype",
            )
        check_form(name, form, model)
        rows = await self._encode_images(name, model, model.image_queue, pictures, started)
        return _finish(rows, form, None)

    async def takes_images(self, name: ModelName) -> bool:
        """Tell whether a model makes vectors of images."""
        return (await self._model(name)).image_queue is not None

    async def embed_both(
        self, name: ModelName, texts: Texts | None, pictures: Pictures | None, form: VectorForm
    ) -> tuple[EmbeddedTexts | None, AnyVectors | None]:
        """Embed texts and pictures side by side; the first failure ends the other."""
        count = len(texts or ()) + (len(pictures.images) if pictures is not None else 0)
        check_count(self.limits, count, "text", "texts and images")
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
        check_count(self.limits, len(pictures.images), "image", "images")
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
        check_count(self.limits, len(pictures.images), "image", "images")
        check_texts(self.limits, Texts(texts=labels.names, param="labels"))
        check_count(self.limits, len(labels.names) * len(labels.templates), "labels", "labels times templates")
        check_sentences(self.limits, labels)
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

    def _admit(
        self, name: ModelName, model: LoadedModel, texts: Texts, time_left_s: float
    ) -> tuple[TextPreprocessor, Batcher[TokenizedText], str | None]:
        """Let texts in: return what tokenizes them, where they wait, and their prompt, None for the model's default."""
        if model.text is None or model.text_queue is None:
            raise ModalityError(f"Model {name.name!r} does not take text.", param=texts.param)
        model.text_queue.refuse_when_late(len(texts), time_left_s)
        if texts.prompt is None:
            return model.text, model.text_queue, None
        prompt = resolve_prompt(texts.prompt, model.text.config, name.name)
        check_prompt(self.limits, prompt, texts)
        return model.text, model.text_queue, prompt

    async def _encode_texts(
        self, name: ModelName, model: LoadedModel, texts: Texts, started: float
    ) -> tuple[Vectors, list[TokenizedText]]:
        tokenizer, queue, prompt = self._admit(name, model, texts, self._time_left_s(started))
        if texts.token_ids is not None:
            items = await asyncio.to_thread(
                tokenizer.take_ids, texts.token_ids, name=texts.name, cut_side=texts.cut_side
            )
        elif _is_short(texts, prompt):
            items = tokenizer.encode(texts.texts, prompt=prompt, cut_side=texts.cut_side)
        else:
            items = await asyncio.to_thread(tokenizer.encode, texts.texts, prompt=prompt, cut_side=texts.cut_side)
        if not texts.truncate:
            refuse_long(texts, items, tokenizer.config.max_tokens)
        return await self._submit(name, queue, items, started), items

    async def _encode_images(
        self, name: ModelName, model: LoadedModel, queue: Batcher[Pixels], pictures: Pictures, started: float
    ) -> Vectors:
        """Prepare and infer pictures, a chunk being inferred while the next is prepared.

        Only two chunks are pixels at a time, whatever a request holds.
        """
        assert model.image is not None
        self.images.check(pictures.images, param=pictures.param)
        running: asyncio.Task[Vectors] | None = None
        done: list[Vectors] = []
        try:
            for first in range(0, len(pictures.images), _IMAGES_A_CHUNK):
                chunk = pictures.images[first : first + _IMAGES_A_CHUNK]
                places = range(first, first + len(chunk)) if pictures.places is None else pictures.places[first:]
                loading = self.images.load(
                    chunk, model.image, headers=pictures.headers, param=pictures.param, places=places
                )
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
            rows, _ = await self._encode_texts(name, model, Texts(texts=sentences, param="labels"), started)
            rows = finish(rows, dimensions=None, normalize=True)
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
            # Another process that shares the repository may have loaded it, and another request have seen that first.
            await self._refresh()
        return self.registry.get(name.name, library=name.library, pretrained=name.pretrained)

    async def _refresh(self) -> None:
        """Follow the list of models, but wait no longer than a request may take: it lies on a disk that may hang."""
        await self._in_time(self.registry.refresh(), time.monotonic())

    async def _explain_missing(self, name: ModelName, error: ModelNotLoadedError) -> Exception:
        """Tell a model that was unloaded (404) from one that the engine has lost and will get back (503)."""
        await self._refresh()
        try:
            self.registry.get(name.name, library=name.library, pretrained=name.pretrained)
        except ModelNotLoadedError:
            return error
        self.registry.suspect()
        return EngineUnavailableError(f"Model {name.name!r} is being loaded again.", retry_after_s=1.0)


_explaining: set[asyncio.Task[None]] = set()


class Caller(Protocol):
    """Gets the vectors of a request. Exactly one of the two is called, once, and raises nothing."""

    def embedded(self, texts: EmbeddedTexts) -> None:
        """Take the vectors."""

    def failed(self, error: Exception) -> None:
        """Take note why there are none: an IngrainError, or a fault that nobody foresaw."""


class _WaitsForTexts(msgspec.Struct, eq=False):
    """Waits for the rows of a request's texts in the place of ``Pipeline.embed_text``."""

    pipeline: Pipeline
    name: ModelName
    form: VectorForm
    ranges: NDArray[np.float32] | None
    items: Sequence[TokenizedText]
    caller: Caller

    def done(self, rows: Vectors) -> None:
        """Finish the vectors."""
        try:
            texts = EmbeddedTexts(_finish(rows, self.form, self.ranges), self.items)
        except Exception as error:  # whatever it is, the others of the batch must get theirs
            self.caller.failed(error)
        else:
            self.caller.embedded(texts)

    def failed(self, error: IngrainError) -> None:
        """Pass the error on, of a lost model with what has become of it."""
        if isinstance(error, EngineUnavailableError):
            self.pipeline.registry.suspect()
        elif isinstance(error, ModelNotLoadedError):
            explaining = asyncio.get_running_loop().create_task(self._explain(error))
            _explaining.add(explaining)
            explaining.add_done_callback(_explaining.discard)
            return
        self.caller.failed(error)

    async def _explain(self, error: ModelNotLoadedError) -> None:
        try:
            explained: Exception = await self.pipeline._explain_missing(self.name, error)
        except Exception as failure:  # whatever it is, the caller must not wait for ever
            explained = failure
        self.caller.failed(explained)


def _is_short(texts: Texts, prompt: str | None) -> bool:
    """Tell whether tokenizing takes less time than handing it to a thread would."""
    given = texts.texts
    return (
        texts.token_ids is None
        and len(given) <= _INLINE_TEXTS
        and sum(map(len, given)) + len(prompt or "") <= _INLINE_CHARS
    )


def _keep(model: LoadedModel, key: tuple[str, ...], vectors: Vectors) -> None:
    """Keep the vectors of a label set for later requests, and forget the sets least lately used."""
    kept = model.label_vectors
    if vectors.nbytes + sum(map(len, key)) <= _LABEL_SET_KEPT_BYTES:
        kept[key] = vectors
        while sum(rows.nbytes for rows in kept.values()) > _LABEL_VECTORS_KEPT_BYTES:
            kept.popitem(last=False)


def _finish(rows: Vectors, form: VectorForm, ranges: NDArray[np.float32] | None) -> AnyVectors:
    rows = finish(rows, dimensions=form.dimensions, normalize=form.normalize)
    return rows if form.dtype == "float" else quantize(rows, form.dtype, ranges)
