"""The one way of a request: check, find the model, admit, prepare, queue, finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
import numpy as np

from ingrain.batching.batcher import Batcher
from ingrain.errors import DeadlineExceededError, EngineUnavailableError, IngrainError, ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Caller, Groups, ModelName, RequestLimits, Rows, Task
from ingrain.preprocess.image_input import ImageInput
from ingrain.registry.protocol import Models

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Runs tasks.

    Its methods raise RequestError where the request is at fault, QueueFullError where too much waits already, and
    EngineError where the engine is away, broken or too slow.
    """

    registry: Models
    images: ImageInput
    limits: RequestLimits

    async def run(self, task: Task[R], *, started: float | None = None) -> R:
        """Run a task and return its result.

        Args:
            task: The task.
            started: When the request began, by ``time.monotonic``, for a task that is a part of it; now if None.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        cancel = self.start(task, _FutureCaller(future), started=started)
        try:
            return await future
        except asyncio.CancelledError:
            cancel()
            raise
        finally:
            del future, cancel  # an error's traceback holds this frame, which must not hold the error

    def start(self, task: Task[R], caller: Caller[R], *, started: float | None = None) -> Callable[[], None]:
        """Start a task; few short texts need neither a coroutine nor a thread on the way.

        An ``asyncio`` task and a future by themselves take 9 µs, where the front end spends 100 µs on a short text.

        Args:
            task: The task.
            caller: Takes the result later, never before this returns.
            started: As in ``run``.

        Returns:
            What to call when nobody wants the result any more; the caller is not told then.

        Raises:
            RequestError: The request is at fault; the caller is not told then, nor for the next two.
            QueueFullError: Too much waits already.
            EngineError: The model is not ready.
        """
        task.check(self.limits)
        try:
            model = self._get(task.model)
        except ModelNotLoadedError:
            # Another process that shares the repository may have loaded it, and another request have seen that first.
            return _tell_later(self._run_refreshed(task, started or time.monotonic()), caller)
        queue = task.admit(model, self.limits)
        timeout_s = self.limits.timeout_s if started is None else self._time_left_s(started)
        queue.refuse_when_late(len(task), timeout_s)
        inputs = task.prepare(model, self.images)
        if isinstance(inputs, list):
            return queue.put(inputs, _Waiter(self, task, model, caller), timeout_s=timeout_s, is_let_in=True)
        return _tell_later(self._run_groups(task, model, queue, inputs, started or time.monotonic()), caller)

    async def model(self, name: ModelName) -> LoadedModel:
        """Return a model that can be inferred now."""
        try:
            return self._get(name)
        except ModelNotLoadedError:
            await self._refresh()
        return self._get(name)

    async def _run_refreshed(self, task: Task[R], started: float) -> R:
        await self.model(task.model)
        return await self.run(task, started=started)

    async def _run_groups(
        self, task: Task[R], model: LoadedModel, queue: Batcher[Any], groups: Groups, started: float
    ) -> R:
        """Compute one group of inputs while the next is prepared.

        Two groups are in memory at a time, whatever a request holds.
        """
        running: asyncio.Task[Rows] | None = None
        done: list[Rows] = []
        try:
            async with aclosing(groups):
                while (inputs := await self._in_time(anext(groups, None), started)) is not None:
                    if running is not None:
                        done.append(await running)
                    running = asyncio.create_task(queue.submit(inputs, timeout_s=self._time_left_s(started)))
            assert running is not None
            done.append(await running)
        except BaseException as error:  # cancellation, too, must take back what is being computed
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            if isinstance(error, EngineUnavailableError):
                self.registry.suspect()
            elif isinstance(error, ModelNotLoadedError):
                await self._raise_missing(task.model)
            raise
        finally:
            running = None  # an error's traceback holds this frame, which must not hold the error
        return task.finish(model, done[0] if len(done) == 1 else np.concatenate(done))

    async def _raise_missing(self, name: ModelName) -> NoReturn:
        """Say why a graph is not loaded: its model was unloaded (404), or the engine has lost it (503)."""
        await self._refresh()
        self._get(name)
        self.registry.suspect()
        raise EngineUnavailableError(f"Model {name.name!r} is being loaded again.", retry_after_s=1.0)

    def _get(self, name: ModelName) -> LoadedModel:
        return self.registry.get(name.name, library=name.library, pretrained=name.pretrained)

    async def _refresh(self) -> None:
        """Follow the list of models, but wait no longer than a request may take: it lies on a disk that may hang."""
        await self._in_time(self.registry.refresh(), time.monotonic())

    async def _in_time(self, work: Awaitable[T], started: float) -> T:
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


class _Waiter(msgspec.Struct, Generic[R], eq=False):
    """Takes the rows of a task from its queue and passes the result on."""

    pipeline: Pipeline
    task: Task[R]
    model: LoadedModel
    caller: Caller[R]

    def done(self, rows: Rows) -> None:
        try:
            result = self.task.finish(self.model, rows)
        except Exception as error:  # whatever it is, the others of the batch must get theirs
            self.caller.failed(error)
        else:
            self.caller.done(result)

    def failed(self, error: IngrainError) -> None:
        if isinstance(error, ModelNotLoadedError):
            _tell_later(self.pipeline._raise_missing(self.task.model), self.caller)
            return
        if isinstance(error, EngineUnavailableError):
            self.pipeline.registry.suspect()
        self.caller.failed(error)


class _FutureCaller(Generic[R]):
    """Takes a result into a future."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[R]) -> None:
        self._future = future

    def done(self, result: R) -> None:
        if not self._future.done():
            self._future.set_result(result)

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


_telling: set[asyncio.Task[None]] = set()  # the event loop itself would forget them


def _tell_later(work: Coroutine[Any, Any, R], caller: Caller[R]) -> Callable[[], None]:
    """Start work whose result goes to the caller; return what cancels it."""

    async def tell() -> None:
        try:
            result = await work
        except Exception as error:  # whatever it is, the caller must not wait for ever
            caller.failed(error)
        else:
            caller.done(result)

    task = asyncio.get_running_loop().create_task(tell())
    _telling.add(task)
    task.add_done_callback(_telling.discard)
    task.add_done_callback(lambda _: work.close())  # of a task that is cancelled before its first step
    return partial(_cancel, task)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
