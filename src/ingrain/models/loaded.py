"""A model that can serve requests: its manifest, its preprocessing, and one batch queue for each of its graphs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.batching.batcher import Batcher
from ingrain.batching.cached_queue import CachedQueue
from ingrain.batching.heads import HeadsQueue
from ingrain.batching.request import Queue
from ingrain.batching.row_cache import RowCache
from ingrain.engine.protocol import GraphRunner
from ingrain.errors import IngrainError, ModalityError
from ingrain.models.queues import QueueLimits, queue_of, row_key
from ingrain.postprocess.calibration import CalibrationRanges
from ingrain.preprocess.chat_pairs import AnyPairTokenizer, open_pair_tokenizer
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.text_threads import TextThreads
from ingrain.preprocess.token_vectors import TokenVectorPreprocessor
from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.repository.manifest import Manifest, TextPreprocess
from ingrain.repository.store import Entry
from ingrain.repository.tuning import Execution
from ingrain.roles import ROLES
from ingrain.vocabulary import Role

_LOOK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """The parts of a model that requests use.

    Attributes:
        manifest: The published manifest.
        queues: One queue per graph, by the graph's main role; each returns ``float32 [N, …]``.
        text: Tokenizer; None if the model takes no text. Of documents, if there is ``query_text``.
        query_text: Tokenizer of queries, if the model reads them differently.
        pairs: Tokenizer of pairs of texts; None if the model does not score pairs.
        text_threads: Threads of this process for texts that take long to tokenize.
        image: Image preprocessing; None if the model takes no images.
        calibration: Ranges of text vectors; None if they were not measured.
        row_cache: Cache of rows that all models share; None for none.
        cached_queues: Queues behind the cache, by the roles whose rows they return and the group of requests that share
            rows.
        label_vectors: Cache of the text vectors of label sets, most recently used last.
        devices: Number of processors on which the engine creates each copy of a graph.
        preparing: Requests whose inputs are prepared in groups, and which may not be in a queue now.
    """

    manifest: Manifest
    queues: dict[Role, Batcher[Any]] = field(default_factory=dict)
    text: TextPreprocessor | None = None
    query_text: TextPreprocessor | None = None
    pairs: AnyPairTokenizer | None = None
    text_threads: TextThreads = field(default_factory=TextThreads)
    image: ImagePreprocessor | None = None
    calibration: CalibrationRanges | None = None
    row_cache: RowCache | None = None
    cached_queues: dict[tuple[Role | tuple[Role, ...], int], CachedQueue[Any]] = field(default_factory=dict)
    label_vectors: OrderedDict[tuple[str, ...], NDArray[np.float32]] = field(default_factory=OrderedDict)
    devices: int = 1
    preparing: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_idle(self) -> bool:
        """Whether the model has no requests."""
        return not self.preparing and all(queue.is_idle for queue in self.queues.values())

    async def finish_requests(self) -> None:
        """Wait until the model has no requests; no more may be let in."""
        while not self.is_idle:  # noqa: ASYNC110 - queues have no event for this
            await asyncio.sleep(_LOOK_EVERY_S)

    def queue(self, role: Role, param: str, what: str) -> Batcher[Any] | HeadsQueue:
        """Return the queue of the graph with a role.

        Args:
            role: Role of the graph.
            param: Request field that needs the graph, for the error.
            what: Function of the graph, as the end of "does not ...", for the error.

        Raises:
            ModalityError: The model has no graph with this role.
        """
        queue = self.queues.get(role)
        if queue is not None:
            return queue
        graph = next((graph for graph in self.manifest.graphs if role in graph.roles), None)
        if graph is None:
            raise ModalityError(f"Model {self.manifest.name!r} does not {what}. It {self.manifest.does}.", param=param)
        return HeadsQueue(self.queues[graph.role], (role,))

    def text_queue(
        self, param: str, cache_group: int | None, role: Role = "text_encoder", what: str | None = None
    ) -> Queue[Any]:
        """Return the queue of a graph that takes texts, behind the cache of rows.

        Args:
            param: Request field that needs the graph, for the error.
            cache_group: Group of requests that share cached rows; None to compute all rows.
            role: Role of the graph.
            what: As in ``queue``; by default what a model without a text encoder does not do.

        Raises:
            ModalityError: The model has no graph with this role.
        """
        if cache_group is not None:
            cached = self.cached_queues.get((role, cache_group))
            if cached is not None:
                return cached
        queue = self.queue(role, param, what or ("take text" if self.text is None else "embed texts"))
        return self._behind_cache(queue, role, cache_group)

    def joint_queue(self, roles: tuple[Role, ...], param: str, cache_group: int | None) -> Queue[Any]:
        """Return the queue that computes several roles of one graph at once, behind the cache of rows.

        Args:
            roles: The roles.
            param: As in ``text_queue``.
            cache_group: As in ``text_queue``.

        Returns:
            A queue whose rows ``split_rows`` splits into those of the roles.

        Raises:
            ModalityError: No graph has all of these roles.
        """
        if cache_group is not None:
            cached = self.cached_queues.get((roles, cache_group))
            if cached is not None:
                return cached
        graph = next((graph for graph in self.manifest.graphs if set(roles) <= set(graph.roles)), None)
        if graph is None:
            raise ModalityError(
                f"Model {self.manifest.name!r} does not give all these outputs at once. It {self.manifest.does}.",
                param=param,
            )
        return self._behind_cache(HeadsQueue(self.queues[graph.role], roles), roles, cache_group)

    def _behind_cache(
        self, queue: Batcher[Any] | HeadsQueue, roles: Role | tuple[Role, ...], cache_group: int | None
    ) -> Queue[Any]:
        if cache_group is None or self.row_cache is None:
            return queue
        cached = self.cached_queues[roles, cache_group] = CachedQueue(queue, self.row_cache, row_key)
        return cached

    def close(self, error: IngrainError) -> None:
        """Fail all waiting requests with this error, and free the cached rows."""
        for queue in self.queues.values():
            queue.close(error)
        for cached in self.cached_queues.values():
            cached.close()

    def retune(self, executions: Mapping[Role, Execution]) -> None:
        """Apply new layouts and batch limits to the queues."""
        for role, queue in self.queues.items():
            if (execution := executions.get(role)) is not None:
                queue.retune(
                    max_items=execution.max_items,
                    max_tokens=ROLES[role].batch_tokens(execution.max_items, execution.max_tokens),
                    overhead_tokens=execution.overhead_tokens,
                    in_flight=execution.layout.copies * execution.servers * self.devices + 1,
                )


def open_model(
    entry: Entry, engine: GraphRunner, limits: QueueLimits, images: Callable[[ImagePreprocess], ImagePreprocessor]
) -> LoadedModel:
    """Open a model whose graphs the engine has loaded; this reads files and blocks.

    Args:
        entry: Repository entry of the model.
        engine: Engine that runs the model's graphs.
        limits: Limits of the model's queues.
        images: Creates the image preprocessor, if the model takes images.
    """
    manifest = entry.manifest
    text = _open_text(manifest.text, entry)
    return LoadedModel(
        manifest=manifest,
        queues={graph.role: queue_of(graph, manifest, engine, limits) for graph in manifest.graphs},
        text=text,
        query_text=_open_text(manifest.query_text, entry),
        pairs=open_pair_tokenizer(text) if text is not None and manifest.scoring is not None else None,
        text_threads=limits.text_threads,
        image=images(manifest.image) if manifest.image is not None else None,
        calibration=_calibration(entry),
        row_cache=limits.row_cache,
        devices=limits.devices,
    )


def check_model(
    entry: Entry, engine: GraphRunner, limits: QueueLimits, images: Callable[[ImagePreprocess], ImagePreprocessor]
) -> LoadedModel:
    """Open a model that worker processes serve, so that a damaged model fails to load in the main process.

    Returns:
        A model with the manifest only.
    """
    return LoadedModel(manifest=open_model(entry, engine, limits, images).manifest)


def _open_text(config: TextPreprocess | None, entry: Entry) -> TextPreprocessor | None:
    if config is None:
        return None
    kind = TextPreprocessor if config.token_rules is None else TokenVectorPreprocessor
    return kind.open(config, entry.folder)


def _calibration(entry: Entry) -> CalibrationRanges | None:
    if entry.manifest.calibration is None:
        return None
    return CalibrationRanges(np.load(entry.folder / entry.manifest.calibration.file, allow_pickle=False))
