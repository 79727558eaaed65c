"""Notes in the timelines of a batch's requests when it was sent and when it came back."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any

from ingrain.batching.queue import Batch
from ingrain.batching.request import BatchedRequest, BatchRows
from ingrain.timeline import traceparent


def is_followed(batch: Batch[BatchedRequest[Any]]) -> bool:
    """Return whether a request of the batch has a timeline."""
    for request, _, _ in batch.slices:  # noqa: SIM110 - `any` takes three times as long, in each batch
        if request.timeline is not None:
            return True
    return False


async def run_followed(batch: Batch[BatchedRequest[Any]], run: Coroutine[Any, Any, BatchRows]) -> BatchRows:
    """Run a batch, and note for each of its requests how long it has waited for it and how long it took."""
    sent_at, is_done = time.perf_counter(), False
    lines = [(request.timeline, request.put_at) for request, _, _ in batch.slices if request.timeline is not None]
    # A request with items of several lengths has several slices of the batch.
    traces = list({id(line.trace): line.trace for line, _ in lines if line.trace is not None}.values())
    sent = traces[0].send_batch(traces[1:], items=batch.count, tokens=batch.tokens) if traces else None
    traceparent.set(sent.traceparent if sent is not None else None)
    try:
        rows = await run
        is_done = True
        return rows
    finally:
        now = time.perf_counter()
        for line, put_at in lines:
            line.add("queue", put_at, sent_at)
            line.add("infer", sent_at, now)
        if sent is not None:
            sent.end(failed=not is_done)
