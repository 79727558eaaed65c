"""Builds the batch queue of a graph, which collates each batch, runs it, and checks the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.batching.batcher import Batcher
from ingrain.batching.heads import Asked, PartedRows, asked_lengths, texts_of
from ingrain.batching.in_flight import EngineInFlight, SharedInFlight
from ingrain.batching.queue import BatchLimits
from ingrain.batching.ragged import entries_of, join_rows
from ingrain.batching.request import BatchRows, Rows
from ingrain.batching.row_cache import RowCache, RowKey
from ingrain.engine.protocol import Arrays, GraphRunner
from ingrain.errors import EngineUnavailableError, NotFiniteError
from ingrain.preprocess.image import Pixels
from ingrain.preprocess.text_threads import TextThreads
from ingrain.preprocess.token_vectors import cut_to_texts
from ingrain.preprocess.tokenized import TokenizedText, collate, gather, lengths_of, pad
from ingrain.repository.manifest import Graph, Manifest, Tensor
from ingrain.roles import ROLES
from ingrain.vocabulary import Role

_DTYPES = {"FP32": np.float32, "FP16": np.float16, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}
_RETRY_AFTER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """Limits for the queues of all models.

    Attributes:
        max_batch_size: Maximum items in a batch.
        max_batch_tokens: Maximum tokens in a batch of token sequences; ``max_tokens`` of ``BatchLimits``.
        overhead_tokens: As in ``BatchLimits``.
        max_queue_tokens: Maximum tokens that wait for one graph.
        engine_timeout_s: Seconds that one batch may take in the engine.
        shared_in_flight: Returns, for a graph's name, the counter of the graph's batches in flight over all processes;
            None if only this process sends batches.
        few_lengths: Whether to pad batches to one of a few lengths, so that Triton can merge batches of front ends.
        in_flight: Counts the batches of all graphs in the engine.
        devices: Number of processors on which the engine creates each copy of a graph.
        row_cache: Cache of the rows of texts; None for none.
        text_threads: Threads of this process for texts that take long to tokenize.
    """

    max_batch_size: int = 32
    max_batch_tokens: int = 4096
    overhead_tokens: int = 8
    max_queue_tokens: int = 1_000_000
    engine_timeout_s: float = 60.0
    shared_in_flight: Callable[[str], SharedInFlight] | None = None
    few_lengths: bool = False
    in_flight: EngineInFlight = field(default_factory=EngineInFlight)
    devices: int = 1
    row_cache: RowCache | None = None
    text_threads: TextThreads = field(default_factory=TextThreads)


def row_key(number: int, item: TokenizedText) -> RowKey:
    """Return the key of a text's row: all that a graph gets of a text, and the number of the cached graph."""
    return number, item.packed_ids, item.packed_type_ids, item.prompt_tokens


def token_queue(graph: Graph, manifest: Manifest, engine: GraphRunner, limits: QueueLimits) -> Batcher[TokenizedText]:
    """Build the queue of a graph that takes token ids ``[B, T]``; it computes equal texts of a batch once.

    If the graph gives vectors of tokens, the rows are an array of objects, ``[N]``; see ``cut_to_texts``. Requests to a
    graph with heads may ask for other outputs than those of the main role; see ``HeadsQueue``.
    """
    config = manifest.text_of(graph)
    assert config is not None
    longest = max(config.max_tokens, manifest.query_text.max_tokens if manifest.query_text is not None else 0)
    inputs = [tensor.name for tensor in graph.inputs]
    batches = BatchLimits(
        max_items=limits.max_batch_size,
        max_tokens=limits.max_batch_tokens,
        overhead_tokens=limits.overhead_tokens,
        equal_lengths_only=graph.equal_lengths_only,
        packs_tokens=graph.packs_tokens,
        few_lengths_to=longest if limits.few_lengths and not graph.equal_lengths_only else None,
    )

    async def run(parts: Sequence[tuple[Sequence[TokenizedText], Sequence[int]]], *, alone: bool) -> Rows:
        texts = gather(parts)
        arrays, places = _distinct(pad(texts, config, inputs, batches.padded(max(texts.lengths))))
        (rows,) = await _infer(engine, graph, [graph.role], arrays, limits, alone=alone)
        return rows if places is None else rows[places]

    async def run_by_token(parts: Sequence[tuple[Sequence[TokenizedText], Sequence[int]]], *, alone: bool) -> Rows:
        items = [texts[place] for texts, places in parts for place in places]
        arrays, rows = _distinct(collate(items, config, inputs, batches.padded(max(lengths_of(items)))))
        (vectors,) = await _infer(engine, graph, [graph.role], arrays, limits, alone=alone)
        return cut_to_texts(vectors, items, config.padding_side, rows)

    async def run_with_heads(parts: Sequence[tuple[Any, Sequence[int]]], *, alone: bool) -> BatchRows:
        asked = [own.roles if isinstance(own, Asked) else (graph.role,) for own, _ in parts]
        roles = [role for role in graph.roles if any(role in own for own in asked)]
        own_texts = [(texts_of(own), places) for own, places in parts]
        if roles == [graph.role]:
            return await run(own_texts, alone=alone)
        texts = gather(own_texts)
        arrays, rows_of = _distinct(pad(texts, config, inputs, batches.padded(max(texts.lengths))))
        found = dict(zip(roles, await _infer(engine, graph, roles, arrays, limits, alone=alone), strict=True))
        numbers = iter(range(len(texts.lengths)) if rows_of is None else rows_of)
        done = []
        for own_roles, (own, places) in zip(asked, own_texts, strict=True):
            items, at = [own[place] for place in places], [next(numbers) for _ in places]
            kinds = [
                cut_to_texts(found[role], items, config.padding_side, at)
                if ROLES[role].gives_token_vectors
                else found[role][at]
                for role in own_roles
            ]
            done.append(kinds[0] if len(kinds) == 1 else join_rows(kinds))
        return PartedRows(done)

    if graph.heads:
        return _batcher(run_with_heads, asked_lengths, graph, engine, limits, batches)
    run_batch = run_by_token if ROLES[graph.role].gives_token_vectors else run
    return _batcher(run_batch, lengths_of, graph, engine, limits, batches)


def pixel_queue(graph: Graph, engine: GraphRunner, limits: QueueLimits) -> Batcher[Pixels]:
    """Build the queue of a graph that takes pixels of images of a fixed size."""
    name = graph.inputs[0].name
    item_tokens = ROLES[graph.role].batch_tokens(1, 1)

    async def run(parts: Sequence[tuple[Sequence[Pixels], Sequence[int]]], *, alone: bool) -> Rows:
        pixels = np.stack([images[place] for images, places in parts for place in places])
        (rows,) = await _infer(engine, graph, [graph.role], {name: pixels}, limits, alone=alone)
        return rows

    batches = BatchLimits(max_items=limits.max_batch_size, max_tokens=item_tokens * limits.max_batch_size)
    return _batcher(run, lambda images: [item_tokens] * len(images), graph, engine, limits, batches)


def queue_of(graph: Graph, manifest: Manifest, engine: GraphRunner, limits: QueueLimits) -> Batcher[Any]:
    """Build the queue of a graph."""
    if ROLES[graph.role].takes_token_sequences:
        return token_queue(graph, manifest, engine, limits)
    return pixel_queue(graph, engine, limits)


def _batcher(
    run: Any,
    lengths: Callable[[Sequence[Any]], Sequence[int]],
    graph: Graph,
    engine: GraphRunner,
    limits: QueueLimits,
    batches: BatchLimits,
) -> Batcher[Any]:
    return Batcher(
        run,
        lengths,
        limits=batches,
        in_flight=engine.instances + 1,
        max_queue_tokens=limits.max_queue_tokens,
        shared=limits.shared_in_flight(graph.name) if limits.shared_in_flight is not None else None,
        engine=limits.in_flight,
        name=graph.name,
    )


def _distinct(arrays: Arrays) -> tuple[Arrays, list[int] | None]:
    """Return the distinct rows of a batch, and for each row its index among them; None if all are distinct."""
    ids = _bytes_of_rows(arrays["input_ids"])
    if len(set(ids)) == len(ids):
        return arrays, None
    rows = _bytes_of_rows(np.concatenate(list(arrays.values()), axis=1))
    known: dict[bytes, int] = {}
    places = [known.setdefault(row, len(known)) for row in rows]
    if len(known) == len(rows):
        return arrays, None
    _, firsts = np.unique(places, return_index=True)
    return {name: array[firsts] for name, array in arrays.items()}, places


def _bytes_of_rows(array: NDArray[np.generic]) -> list[bytes]:
    """Return the bytes of each row of a contiguous array, ``[B, T]``."""
    joined, width = array.tobytes(), array.strides[0]
    return [joined[start : start + width] for start in range(0, len(joined), width)]


def _fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    """Return whether a shape is the expected one, in which -1 stands for any size."""
    return len(shape) == len(expected) and all(want in (-1, size) for size, want in zip(shape, expected, strict=True))


async def _infer(
    engine: GraphRunner, graph: Graph, roles: Sequence[Role], arrays: Arrays, limits: QueueLimits, *, alone: bool
) -> list[Rows]:
    """Run a batch, and return its rows for each of the roles."""
    run = partial(engine.infer, graph.name, arrays, timeout_s=limits.engine_timeout_s, alone=alone)
    # Engines of extensions need not know `outputs` for graphs without heads.
    answer = await (run(outputs=graph.names_of(roles)) if graph.heads else run())
    count = len(next(iter(arrays.values())))
    return [_rows(answer, role, graph.outputs_of(role), count) for role in roles]


def _rows(answer: Arrays, role: Role, outputs: Sequence[Tensor], count: int) -> Rows:
    """Return the rows of a role from the engine's answer for a batch of ``count`` items."""
    rows = np.asarray(_output(answer, outputs[0], count), np.float32)
    if not np.isfinite(rows).all():
        raise NotFiniteError("The model's output has values that are not finite (NaN or infinity).")
    return entries_of(rows, _output(answer, outputs[1], count)) if ROLES[role].gives_entries else rows


def _output(answer: Arrays, output: Tensor, count: int) -> NDArray[Any]:
    """Return an output of a batch with ``count`` items from the engine's answer."""
    found = answer.get(output.name)
    if found is None or found.dtype != _DTYPES[output.dtype] or not _fits(found.shape, (count, *output.shape[1:])):
        # Bytes were changed on the way, or another program loaded another graph under this name.
        raise EngineUnavailableError("The engine's answer does not fit the model.", retry_after_s=_RETRY_AFTER_S)
    return found
