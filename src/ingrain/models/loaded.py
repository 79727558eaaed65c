"""A model that can be inferred: its manifest, its preprocessing, and one queue for each of its graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.batching.batcher import Batcher
from ingrain.batching.in_flight import EngineInFlight, SharedInFlight
from ingrain.batching.queue import BatchLimits
from ingrain.batching.request import Rows
from ingrain.engine.protocol import Arrays, GraphRunner
from ingrain.errors import IngrainError, NotFiniteError
from ingrain.postprocess.calibration import CalibrationRanges
from ingrain.preprocess.image import ImagePreprocessor, Pixels
from ingrain.preprocess.text import TextPreprocessor, TokenizedText, collate
from ingrain.repository.manifest import Graph, ImagePreprocess, Manifest, TextPreprocess
from ingrain.repository.store import Entry
from ingrain.repository.tuning import Execution
from ingrain.vocabulary import Role

IMAGE_TOKENS = 256
"""What an image counts for in a queue: about the tokens that a vision transformer makes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What the queues of all models share.

    Attributes:
        max_batch_size: Most items in a batch.
        max_batch_tokens: Most tokens in a batch of texts, padding included.
        enough_items: Items that already use the engine well, so that more are taken only without padding.
        max_queue_tokens: Most tokens that wait for one graph.
        engine_timeout_s: Seconds that one batch may take in the engine.
        shared_in_flight: Finds, by the graph's name, the count of its batches in the engine over all processes; None
            where this process alone sends them.
        few_lengths: Whether batches are padded to few lengths, so that Triton can merge those of several front ends.
        in_flight: Counts the batches of all graphs in the engine.
        devices: On how many processors the engine makes each copy of a graph.
    """

    max_batch_size: int = 32
    max_batch_tokens: int = 4096
    enough_items: int = 32
    max_queue_tokens: int = 1_000_000
    engine_timeout_s: float = 60.0
    shared_in_flight: Callable[[str], SharedInFlight] | None = None
    few_lengths: bool = False
    in_flight: EngineInFlight = field(default_factory=EngineInFlight)
    devices: int = 1

    def shared(self, graph: Graph) -> SharedInFlight | None:
        """Return the count of a graph's batches over all processes, if there are several."""
        return self.shared_in_flight(graph.name) if self.shared_in_flight is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the request path needs of a model.

    Attributes:
        manifest: What was published.
        text: Tokenizes, where the model takes text.
        text_queue: Computes ``float32 [N, D]`` from tokenized texts.
        image: Prepares pictures, where the model takes pictures.
        image_queue: Computes ``float32 [N, D]`` from pixels.
        classifier_queue: Computes logits, ``float32 [N, K]``, from pixels.
        calibration: Knows the ranges of text vectors, where they were measured.
        label_vectors: Text vectors of label sets, the latest used last.
        devices: On how many processors the engine makes each copy of a graph.
    """

    manifest: Manifest
    text: TextPreprocessor | None = None
    text_queue: Batcher[TokenizedText] | None = None
    image: ImagePreprocessor | None = None
    image_queue: Batcher[Pixels] | None = None
    classifier_queue: Batcher[Pixels] | None = None
    calibration: CalibrationRanges | None = None
    label_vectors: OrderedDict[tuple[str, ...], NDArray[np.float32]] = field(default_factory=OrderedDict)
    devices: int = 1

    def close(self, error: IngrainError) -> None:
        """Answer what waits in the queues with this error."""
        for queue in self._queues().values():
            if queue is not None:
                queue.close(error)

    def retune(self, executions: Mapping[Role, Execution]) -> None:
        """Have the queues follow how their graphs are executed from now on."""
        for role, queue in self._queues().items():
            if queue is not None and (execution := executions.get(role)) is not None:
                queue.retune(
                    max_items=execution.max_items,
                    max_tokens=execution.max_tokens or IMAGE_TOKENS * execution.max_items,
                    in_flight=execution.layout.copies * self.devices + 1,
                )

    def _queues(self) -> dict[Role, Batcher[Any] | None]:
        return {
            "text_encoder": self.text_queue,
            "image_encoder": self.image_queue,
            "classifier": self.classifier_queue,
        }


def open_model(
    entry: Entry, engine: GraphRunner, limits: QueueLimits, images: Callable[[ImagePreprocess], ImagePreprocessor]
) -> LoadedModel:
    """Read the side files of a model whose graphs the engine has loaded; blocks on the disk.

    Args:
        entry: From the repository.
        engine: Runs its graphs.
        limits: Of its queues.
        images: Makes the preprocessor of a model that takes pictures.
    """
    manifest = entry.manifest
    graphs: dict[Role, Graph] = {graph.role: graph for graph in manifest.graphs}

    def image_queue(role: Role) -> Batcher[Pixels] | None:
        return _image_queue(graphs[role], engine, limits) if role in graphs else None

    return LoadedModel(
        manifest=manifest,
        text=TextPreprocessor(manifest.text, entry.folder) if manifest.text is not None else None,
        text_queue=_text_queue(manifest.text, graphs["text_encoder"], engine, limits) if manifest.text else None,
        image=images(manifest.image) if manifest.image is not None else None,
        image_queue=image_queue("image_encoder"),
        classifier_queue=image_queue("classifier"),
        calibration=_calibration(entry),
        devices=limits.devices,
    )


def _calibration(entry: Entry) -> CalibrationRanges | None:
    if entry.manifest.calibration is None:
        return None
    return CalibrationRanges(np.load(entry.folder / entry.manifest.calibration.file, allow_pickle=False))


def _text_queue(
    config: TextPreprocess, graph: Graph, engine: GraphRunner, limits: QueueLimits
) -> Batcher[TokenizedText]:
    inputs = [tensor.name for tensor in graph.inputs]
    batches = BatchLimits(
        max_items=limits.max_batch_size,
        max_tokens=limits.max_batch_tokens,
        enough_items=limits.enough_items,
        equal_lengths_only=graph.equal_lengths_only,
        few_lengths_to=config.max_tokens if limits.few_lengths and not graph.equal_lengths_only else None,
    )

    async def run(payloads: Sequence[TokenizedText], *, alone: bool) -> Rows:
        distinct, places = _distinct(payloads)
        arrays = collate(distinct, config, inputs, batches.padded(max(map(len, distinct))))
        rows = await _infer(engine, graph, arrays, limits, alone=alone)
        return rows if len(distinct) == len(payloads) else rows[places]

    return Batcher(
        run,
        len,
        limits=batches,
        in_flight=engine.instances + 1,
        max_queue_tokens=limits.max_queue_tokens,
        shared=limits.shared(graph),
        engine=limits.in_flight,
    )


def _distinct(items: Sequence[TokenizedText]) -> tuple[list[TokenizedText], list[int]]:
    """Return a batch's texts, each once, and for each item the place of its text: what many ask is computed once."""
    known: dict[tuple[int, bytes], int] = {}
    places: list[int] = []
    distinct: list[TokenizedText] = []
    for item in items:
        place = known.setdefault((item.prompt_tokens, item.packed_ids), len(known))
        if place == len(distinct):
            distinct.append(item)
        places.append(place)
    return distinct, places


def _image_queue(graph: Graph, engine: GraphRunner, limits: QueueLimits) -> Batcher[Pixels]:
    name = graph.inputs[0].name

    async def run(payloads: Sequence[Pixels], *, alone: bool) -> Rows:
        return await _infer(engine, graph, {name: np.stack(payloads)}, limits, alone=alone)

    return Batcher(
        run,
        lambda _: IMAGE_TOKENS,
        limits=BatchLimits(max_items=limits.max_batch_size, max_tokens=IMAGE_TOKENS * limits.max_batch_size),
        in_flight=engine.instances + 1,
        max_queue_tokens=limits.max_queue_tokens,
        shared=limits.shared(graph),
        engine=limits.in_flight,
    )


async def _infer(engine: GraphRunner, graph: Graph, arrays: Arrays, limits: QueueLimits, *, alone: bool) -> Rows:
    answer = await engine.infer(graph.name, arrays, timeout_s=limits.engine_timeout_s, alone=alone)
    rows = np.asarray(answer[graph.outputs[0].name], np.float32)
    if not np.isfinite(rows).all():
        raise NotFiniteError("The model answered with numbers that are not finite (NaN or infinity).")
    return rows
