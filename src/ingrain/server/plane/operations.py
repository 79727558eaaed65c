"""Loads as operations: one request starts a load, others follow it, list it or cancel it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal, get_args

from ingrain.errors import IngrainError, ModelConflictError, NotFoundError, OperationEndedError, QueueFullError
from ingrain.progress import Phase, Progress
from ingrain.registry.registry import Registry
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.keys.named import NamedKey
from ingrain.server.plane.detach import detach

OperationState = Literal["running", "succeeded", "failed", "cancelled"]

_PHASES: tuple[Phase, ...] = get_args(Phase)
_LOOK_EVERY_S = 0.1
_REPEAT_AFTER_S = 10.0
_KEPT = 256
_RETRY_AFTER_S = 5.0
_ENDS: dict[OperationState, str] = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}

log = logging.getLogger("ingrain.server")


@dataclass(slots=True, eq=False, kw_only=True)
class Operation:
    """A load, running or ended.

    Attributes:
        ref: The model.
        key: Name of the API key that has begun it; empty for a key without a name.
        id: Random name.
        state: State; the other fields do not change once it is not ``running``.
        progress: Progress of the phase. It never goes back within an attempt. None while there is none to tell: before
            the first phase, and while the engine loads the graphs.
        queue_position: Conversions that come before this one; None if it does not wait for others.
        attempt: 1, and 1 more each time the conversion starts again.
        error: Why the load has failed.
        started_at: Seconds since the epoch.
        ended_at: Likewise; None while it runs.
        was_loaded: Whether the model was loaded already; known once the operation has succeeded.
        is_followed: False once responses that follow the operation must end.
        is_cancelled: True once a request has cancelled it; a load that was ready by then has succeeded all the same.
        loading: The load.
    """

    ref: ModelRef
    key: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: OperationState = "running"
    progress: Progress | None = None
    queue_position: int | None = None
    attempt: int = 1
    error: IngrainError | None = None
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    was_loaded: bool = False
    is_followed: bool = True
    is_cancelled: bool = False
    loading: asyncio.Future[bool] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_running(self) -> bool:
        """Whether the load has not ended."""
        return self.state == "running"

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield at once, at each change, and at the end.

        What does not change is repeated every few seconds, so that no proxy takes the connection for dead. Ends before
        the operation does if the server stops.
        """
        while True:
            changed = self._changed
            yield
            if not self.is_running or not self.is_followed:
                return
            try:
                async with asyncio.timeout(_REPEAT_AFTER_S):
                    await changed.wait()
            except TimeoutError:
                pass  # repeated

    async def ended(self) -> None:
        """Wait until the load has succeeded, failed or been cancelled."""
        while self.is_running:
            await self._changed.wait()

    async def end(self) -> None:
        """Wait for the success.

        Raises:
            IngrainError: The load has failed.
            ModelConflictError: It was cancelled.
        """
        await self.ended()
        if self.error is not None:
            raise self.error
        if self.state == "cancelled":
            raise ModelConflictError(f"Another request has cancelled the load of model {self.ref.name!r}.")

    def tell(self, progress: Progress | None, queue_position: int | None) -> None:
        """Record the progress, unless it goes back within a phase."""
        known = self.progress
        if progress is not None and known is not None:
            if _PHASES.index(progress.phase) < _PHASES.index(known.phase):
                self.attempt += 1
            elif _goes_back(known, progress):
                progress = known
        if (progress, queue_position) != (known, self.queue_position):
            self.progress, self.queue_position = progress, queue_position
            self.wake()

    def close(self, state: OperationState, error: IngrainError | None = None) -> None:
        """Record the end."""
        self.state, self.error, self.queue_position, self.ended_at = state, error, None, time.time()
        self.wake()

    def wake(self) -> None:
        """Have those who follow the operation look at it."""
        self._changed.set()
        self._changed = asyncio.Event()


def _goes_back(known: Progress, progress: Progress) -> bool:
    same = (known.phase, known.detail, known.total, known.unit)
    return same == (progress.phase, progress.detail, progress.total, progress.unit) and progress.done < known.done


def no_operation(operation_id: str) -> NotFoundError:
    """Return the error for an operation that is not known."""
    return NotFoundError(
        f"There is no operation {operation_id[:100]!r}; the last {_KEPT} are kept until the server stops.", param="id"
    )


def _too_many(limit: int) -> QueueFullError:
    return QueueFullError(
        f"{limit} loads of this API key are in progress (INGRAIN_MAX_OPERATIONS). Try again later.",
        retry_after_s=_RETRY_AFTER_S,
        facts={"limit": limit},
    )


class Operations:
    """Starts operations, and remembers them, the last ones also when they have ended.

    Args:
        registry: Loads the models.
        most_running: Limit of running loads of one API key.
    """

    def __init__(self, registry: Registry, most_running: int) -> None:
        self._registry = registry
        self._most_running = most_running
        self._by_id: dict[str, Operation] = {}

    def start(self, ref: ModelRef, key: NamedKey | None) -> Operation:
        """Start to load a model; a running load of the same reference is returned instead.

        Args:
            ref: The model.
            key: The request's key, if it has a name.

        Raises:
            QueueFullError: Loads of the key are running up to the limit; keys without names have it in common.
        """
        name = key.name if key is not None else ""
        running = [operation for operation in self._by_id.values() if operation.is_running]
        for operation in running:
            if operation.ref == ref and not operation.is_cancelled:
                return operation
        if sum(operation.key == name for operation in running) >= self._most_running:
            raise _too_many(self._most_running)
        operation = Operation(ref=ref, key=name)
        self._by_id[operation.id] = operation
        self._forget_old()
        operation.loading = detach(self._registry.load(ref))
        detach(self._run(operation, operation.loading))
        return operation

    def get(self, operation_id: str) -> Operation:
        """Return an operation.

        Raises:
            NotFoundError: There is none with this id, or it ended long ago.
        """
        operation = self._by_id.get(operation_id)
        if operation is None:
            raise no_operation(operation_id)
        return operation

    def all(self) -> list[Operation]:
        """Return all operations, the last one first."""
        return list(self._by_id.values())[::-1]

    async def cancel(self, operation_id: str) -> Operation:
        """Stop the load that an operation began. A model that was served before, in another precision, is still served.

        Raises:
            NotFoundError: There is no such operation.
            OperationEndedError: It has ended.
        """
        operation = self.get(operation_id)
        if not operation.is_running:
            raise OperationEndedError(f"The operation has ended already: it has {_ENDS[operation.state]}.", param="id")
        operation.is_cancelled = True
        if not await self._registry.stop_loading(operation.ref) and operation.loading is not None:
            operation.loading.cancel()
        await operation.ended()
        return operation

    def wake(self) -> None:
        """Have all who follow a load look at it, because what their keys may do has changed."""
        for operation in self._by_id.values():
            operation.wake()

    def stop_following(self) -> None:
        """End all responses that follow operations, because the server stops."""
        for operation in self._by_id.values():
            operation.is_followed = False
            operation.wake()

    async def _run(self, operation: Operation, loading: asyncio.Future[bool]) -> None:
        registry, ref = self._registry, operation.ref
        while not loading.done():
            slot = registry.slots.of(ref)
            operation.tell(slot.progress if slot is not None else None, registry.queue_position(ref))
            await asyncio.wait([loading], timeout=_LOOK_EVERY_S)
        try:
            operation.was_loaded = not loading.result()
        except IngrainError as error:
            if operation.is_cancelled:
                operation.close("cancelled")
            else:
                operation.close("failed", error)
        except asyncio.CancelledError:
            operation.close("cancelled")
        except Exception:  # whatever failed, the operation must end
            log.exception("Loading %r failed", ref.name)
            operation.close("failed", IngrainError(f"Model {ref.name!r} could not be loaded."))
        else:
            operation.close("succeeded")

    def _forget_old(self) -> None:
        ended = [one.id for one in self._by_id.values() if not one.is_running]
        for one in ended[: max(0, len(self._by_id) - _KEPT)]:
            del self._by_id[one]
