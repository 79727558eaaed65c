"""Creates the batches of a measurement: texts of realistic lengths, batched as in the queue, or images."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import numpy as np

from ingrain.batching.queue import BatchLimits, BatchQueue
from ingrain.engine.protocol import Arrays
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.manifest import Graph, Manifest, TextPreprocess
from ingrain.repository.tuning import Execution

# Half search queries, half passages of documents.
_SHORT_TOKENS = (6, 14)
_PASSAGE_MEDIAN_TOKENS, _PASSAGE_SIGMA = 80, 0.9
_LEAST_TOKENS = 4
_TEXTS_AT_ONCE = 128
_SEED = 7


def text_lengths(count: int, max_tokens: int) -> list[int]:
    """Return realistic lengths of texts in tokens, at most ``max_tokens``; the result is deterministic."""
    numbers = random.Random(_SEED)  # noqa: S311 - the same texts in every run
    lengths = []
    for index in range(count):
        if index % 2:
            length = round(math.exp(numbers.gauss(math.log(_PASSAGE_MEDIAN_TOKENS), _PASSAGE_SIGMA)))
        else:
            length = numbers.randint(*_SHORT_TOKENS)
        lengths.append(min(max_tokens, max(_LEAST_TOKENS, length)))
    return lengths


def text_batches(lengths: list[int], limits: BatchLimits) -> Iterator[list[int]]:
    """Yield the lengths in each batch of a queue, if ``_TEXTS_AT_ONCE`` texts wait at a time."""
    for first in range(0, len(lengths), _TEXTS_AT_ONCE):
        queue: BatchQueue[None] = BatchQueue(limits)
        for length in lengths[first : first + _TEXTS_AT_ONCE]:
            queue.add(None, {length: [0]})
        while queue:
            yield [length for _, _, length in queue.take().slices]


def make_batches(manifest: Manifest, graph: Graph, execution: Execution, count: int) -> list[Arrays]:
    """Create the inputs of a pass; too slow for the event loop.

    Args:
        manifest: Manifest of the model.
        graph: One of the model's graphs.
        execution: Execution with the limits of a batch.
        count: Total number of items.

    Returns:
        For each batch, arrays by input name.
    """
    text = manifest.text_of(graph)
    if text is None:
        return list(_image_batches(graph, execution.max_items, count))
    limits = BatchLimits(
        max_items=execution.max_items,
        max_tokens=execution.max_tokens,
        overhead_tokens=execution.overhead_tokens,
        equal_lengths_only=graph.equal_lengths_only,
        packs_tokens=graph.packs_tokens,
    )
    lengths = text_lengths(count, text.max_tokens)
    return [text_batch(text, graph, batch) for batch in text_batches(lengths, limits)]


def text_batch(config: TextPreprocess, graph: Graph, lengths: Sequence[int]) -> Arrays:
    """Create the inputs of one batch of texts with these lengths in tokens."""
    # The ids do not affect the time, and every vocabulary has the id 0.
    return collate(
        [TokenizedText.of([0] * length) for length in lengths], config, [tensor.name for tensor in graph.inputs]
    )


def _image_batches(graph: Graph, items: int, count: int) -> Iterator[Arrays]:
    tensor = graph.inputs[0]
    # All batches are views of the same array, because distinct images would take gigabytes.
    pixels = np.random.default_rng(_SEED).integers(0, 256, (items, *tensor.shape[1:]), np.uint8)
    for first in range(0, count, items):
        yield {tensor.name: pixels[: min(items, count - first)]}
