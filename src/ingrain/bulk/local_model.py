"""A model of the repository in this process, on ONNX Runtime, with the pipeline that serves requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from ingrain.app.limits import fetch_policy, image_limits, request_limits
from ingrain.app.placement import make_engine, placement_of, repository_of
from ingrain.bulk.wanted import Found, Wanted
from ingrain.errors import EngineUnavailableError, ModelNotFoundError, RequestError
from ingrain.fetch.fetcher import Fetcher
from ingrain.models.loaded import LoadedModel, open_model
from ingrain.models.queues import QueueLimits
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName, RequestLimits
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.prompts import PromptChoice
from ingrain.preprocess.text_threads import TextThreads
from ingrain.registry.protocol import Models
from ingrain.registry.stored import StoredModels
from ingrain.repository.object_storage.store import is_url
from ingrain.repository.store import Entry
from ingrain.roles import ROLES
from ingrain.settings import Settings
from ingrain.settings.load import load_settings
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_sparse import EmbedSparse, SparseForm
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.images import Images
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import EmbedTokens, TokenForm
from ingrain.tasks.vectors import VectorForm
from ingrain.tuning.machine import graphs_digest

T = TypeVar("T")

# So many texts wait together that each batch finds texts of its length, and the next ones are tokenized meanwhile.
_TEXTS_A_CHUNK = 1024
_CHUNKS_AT_ONCE = 4
_IMAGES_AT_ONCE = 128
# Nobody waits for a bulk job, and nothing is refused: the caller has a bounded number of items in progress.
_UNLIMITED = 2**62
_NO_TIMEOUT_S = 30 * 86_400.0
_BATCH_TIMEOUT_S = 3600.0


class LocalModel:
    """Embeds with a model that runs in this process. Thread-safe; ``close`` frees the model.

    Limits of images and of fetching URLs are those of a server's settings, read from this process's environment.

    Args:
        wanted: The vectors to compute.
        repository: Folder or URL of the model repository; None for that of the settings.
        threads: Cores to use: batches that run at the same time, with one thread each.
        on_gpu: Run the graphs on the first GPU that this process sees.

    Raises:
        ModelNotFoundError: The repository has no such model.
        IngrainError: The model cannot be opened.
    """

    def __init__(self, wanted: Wanted, *, repository: str | Path | None = None, threads: int = 1, on_gpu: bool = False):
        self._wanted = wanted
        self._name = ModelName(name=wanted.model, library=wanted.library, pretrained=wanted.pretrained)
        self._form = VectorForm(normalize=wanted.normalize, dimensions=wanted.dimensions, dtype=wanted.output_dtype)
        self._prompt = _prompt(wanted)
        self._settings = _settings(repository, threads, on_gpu=on_gpu)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ingrain-bulk", daemon=True)
        self._thread.start()
        self._lock, self._is_closed = threading.Lock(), False
        self._close: Callable[[], Coroutine[Any, Any, None]] | None = None
        try:
            self._pipeline, self.identity = self._run(self._open(threads))
        except BaseException:  # also when the caller is interrupted; the thread must end
            self.close()
            raise

    def embed(self, items: Sequence[str | bytes], *, first: int = 0) -> Found:
        """Embed texts or images.

        Args:
            items: Texts; or images as URLs, data URIs, base64 or bytes of files.
            first: Index of the first item, for errors.

        Raises:
            RequestError: An item is invalid; the message names it.
            EngineUnavailableError: The model is closed.
        """
        return self._run(self._embed(items, first))

    def close(self) -> None:
        """Cancel what is in progress, unload the model and end the thread; what is asked from now on is refused."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._close is not None:
            await self._close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:  # so that ``_end`` finds all that was begun
            if self._is_closed:
                work.close()
                raise EngineUnavailableError("The model is closed.")
            begun = asyncio.run_coroutine_threadsafe(work, self._loop)
        return begun.result()

    async def _open(self, threads: int) -> tuple[Pipeline, str]:
        settings = self._settings
        entry = _find(settings, self._wanted)
        placement = placement_of(settings)
        engine = make_engine(settings, placement)
        images = ImageInput(Fetcher(fetch_policy(settings)), image_limits(settings))

        async def close() -> None:
            await engine.close()
            await images.aclose()

        self._close = close
        await engine.start()
        takes_texts = self._wanted.items == "texts"
        for graph in entry.manifest.graphs:
            if ROLES[graph.role].takes_token_sequences == takes_texts:
                await engine.load(graph)
        limits = QueueLimits(
            max_batch_size=placement.batch_items,
            max_batch_tokens=placement.batch_tokens,
            overhead_tokens=placement.overhead_tokens,
            max_queue_tokens=_UNLIMITED,
            engine_timeout_s=_BATCH_TIMEOUT_S,
            text_threads=TextThreads(max(1, threads // 2)),
        )
        model = open_model(entry, engine, limits, images.preprocessor)
        return Pipeline(_TheModel(model), images, _limits(settings)), graphs_digest(entry.manifest)

    async def _embed(self, items: Sequence[Any], first: int) -> Found:
        wanted = self._wanted
        # Each image is a request of its own, so that an error is its alone; the queue makes batches of them.
        size, at_once = (_TEXTS_A_CHUNK, _CHUNKS_AT_ONCE) if wanted.items == "texts" else (1, _IMAGES_AT_ONCE)
        turns = asyncio.Semaphore(at_once)
        bad: list[int] = []

        async def one(start: int) -> Any:
            async with turns:
                chunk = items[start : start + size]
                places = range(first + start, first + start + len(chunk))
                if wanted.items == "texts":
                    return await self._embed_texts(chunk, places)
                try:
                    return await self._embed_images(chunk, places)
                except RequestError:
                    if not wanted.skip_bad_images:
                        raise
                    bad.append(start)
                    return None

        work = [asyncio.ensure_future(one(start)) for start in range(0, len(items), size)]
        try:
            parts = await asyncio.gather(*work)
        except BaseException:  # also when ``close`` cancels it; no chunk may go on alone
            for one_chunk in work:
                one_chunk.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            raise
        return Found(_joined([part for part in parts if part is not None]), sorted(bad))

    async def _embed_images(self, images: Sequence[str | bytes], places: range) -> Any:
        return await self._pipeline.run(EmbedImages(self._name, Images(images=images, places=places), self._form))

    async def _embed_texts(self, items: Sequence[str], places: range) -> Any:
        wanted, run = self._wanted, self._pipeline.run
        texts = Texts(texts=items, prompt=self._prompt, truncate=wanted.truncate, places=places, cache_group=None)
        if wanted.output == "dense":
            return (await run(EmbedTexts(self._name, texts, self._form))).vectors
        if wanted.output == "sparse":
            entries = SparseForm(top_k=wanted.top_k, min_weight=wanted.min_weight, input_type=wanted.input_type)
            return (await run(EmbedSparse(self._name, texts, entries))).vectors
        token_form = TokenForm(normalize=None if wanted.normalize else False, dimensions=wanted.dimensions)
        side = wanted.input_type or "document"
        found = await run(EmbedTokens(self._name, texts, token_form, side=side, is_answer=False))
        return np.split(found.vectors(), np.cumsum(found.counts)[:-1])


class _TheModel(Models):
    """The only model of a process."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self._model = model

    def get(self, name: str, *, library: str | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return the model."""
        del name, library, pretrained
        return self._model

    async def refresh(self) -> bool:
        """Return False: there are no other models."""
        return False

    def suspect(self) -> None:
        """Do nothing: the engine is in this process."""


def _joined(parts: Sequence[Any]) -> Any:
    """Join the vectors of chunks."""
    if parts and isinstance(parts[0], np.ndarray):
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    return [vector for part in parts for vector in part]


def _settings(repository: str | Path | None, threads: int, *, on_gpu: bool) -> Settings:
    settings = load_settings()
    return msgspec.structs.replace(
        settings,
        repository=settings.repository if repository is None else str(repository),
        engine="onnxruntime",
        instance_kind="KIND_GPU" if on_gpu else "KIND_CPU",
        model_instances=threads,
        threads_per_instance=1,
        lone_request_threads=1,
        image_threads=threads,
    )


def _limits(settings: Settings) -> RequestLimits:
    found = request_limits(settings)
    return RequestLimits(
        max_items=_UNLIMITED,
        max_text_chars=_UNLIMITED,
        timeout_s=_NO_TIMEOUT_S,
        max_answer_bytes=found.max_answer_bytes,
    )


def _find(settings: Settings, wanted: Wanted) -> Entry:
    """Return the model in the repository; from object storage it is brought into the local copy."""
    repository = repository_of(settings)
    try:
        if is_url(settings.repository):
            repository.prepare()
        key = StoredModels(repository).key(wanted.model, wanted.library, wanted.pretrained, besides=set())
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"Model {wanted.model!r} is not in the repository {settings.repository!r} of the process that computes. "
            "`ingrain serve --repository ... --models ...` converts it; every node needs that repository.",
            param="model",
        ) from error
    entry = repository.obtain(key)
    if entry is None:
        raise EngineUnavailableError(f"Model {wanted.model!r} has just been removed from the repository.")
    repository.check(entry)
    return entry


def _prompt(wanted: Wanted) -> PromptChoice | None:
    kind = wanted.input_type
    if wanted.output == "multiVector":
        kind = kind or "document"  # such models read the two sides differently, as on the server
    if (wanted.prompt, wanted.prompt_name, kind) == (None, None, None):
        return None
    return PromptChoice(text=wanted.prompt, name=wanted.prompt_name, input_type=kind)
