"""A model that can be inferred: its manifest, its preprocessing, and one queue for each of its graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ingrain.batching.batcher import Batcher, Rows
from ingrain.batching.queue import BatchLimits
from ingrain.engine.protocol import Engine
from ingrain.errors import IngrainError, NotFiniteError
from ingrain.preprocess.text import TextPreprocessor, TokenizedText, collate
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.store import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What the queues of all models share.

    Attributes:
        max_batch_size: Most items in a batch.
        max_batch_tokens: Most tokens in a batch, padding included.
        max_queue_tokens: Most tokens that wait for one graph.
        engine_timeout_s: Seconds that one batch may take in the engine.
    """

    max_batch_size: int = 32
    max_batch_tokens: int = 4096
    max_queue_tokens: int = 1_000_000
    engine_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the request path needs of a model.

    Attributes:
        manifest: What was published.
        text: Tokenizes, where the model takes text.
        text_queue: Computes ``float32 [N, D]`` from tokenized texts, where the model takes text.
    """

    manifest: Manifest
    text: TextPreprocessor | None = None
    text_queue: Batcher[TokenizedText] | None = None

    def close(self, error: IngrainError) -> None:
        """Answer what waits in the queues with this error."""
        if self.text_queue is not None:
            self.text_queue.close(error)


def open_model(entry: Entry, engine: Engine, limits: QueueLimits) -> LoadedModel:
    """Read the side files of a model whose graphs the engine has loaded; blocks on the disk."""
    manifest = entry.manifest
    if manifest.text is None:
        return LoadedModel(manifest=manifest)
    graph = next(graph for graph in manifest.graphs if graph.role == "text_encoder")
    return LoadedModel(
        manifest=manifest,
        text=TextPreprocessor(manifest.text, entry.folder),
        text_queue=_text_queue(manifest, graph, engine, limits),
    )


def _text_queue(manifest: Manifest, graph: Graph, engine: Engine, limits: QueueLimits) -> Batcher[TokenizedText]:
    config = manifest.text
    assert config is not None
    inputs = [tensor.name for tensor in graph.inputs]
    output = graph.outputs[0].name

    async def run(items: Sequence[TokenizedText]) -> Rows:
        arrays = collate(items, config, inputs)
        answer = await engine.infer(graph.name, arrays, timeout_s=limits.engine_timeout_s)
        rows = np.asarray(answer[output], np.float32)
        if not np.isfinite(rows).all():
            raise NotFiniteError("The model answered with numbers that are not finite (NaN or infinity).")
        return rows

    return Batcher(
        run,
        len,
        limits=BatchLimits(
            max_items=limits.max_batch_size,
            max_tokens=limits.max_batch_tokens,
            equal_lengths_only=graph.equal_lengths_only,
        ),
        in_flight=engine.instances + 1,
        max_queue_tokens=limits.max_queue_tokens,
    )
