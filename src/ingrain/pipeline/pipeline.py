"""Runs a task: check the request, find the model, prepare inputs, queue them, finish the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
import numpy as np

from ingrain.batching.request import Queue
from ingrain.errors import (
    DeadlineExceededError,
    EngineError,
    EngineUnavailableError,
    IngrainError,
    ModelLoadingError,
    ModelNotLoadedError,
)
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Caller, Groups, ModelName, RequestLimits, Rows, Task
from ingrain.preprocess.image_input import ImageInput
from ingrain.preprocess.tokenized import TokenizedText, lengths_of
from ingrain.registry.protocol import Models
from ingrain.timeline import current

_RETRY_AFTER_S = 2.0

T = TypeVar("T")
R = TypeVar("R")


CountTask = Callable[[str, Task[Any], int, float], None]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Runs tasks.

    Its methods raise RequestError for an invalid request, QueueFullError for a full queue, and EngineError if the
    engine is unreachable, fails or is too slow.

    Attributes:
        registry: Finds the models.
        images: Fetches and decodes images.
        limits: Limits of one request.
        count_tokens: Called with the number of tokens of the texts that are put into a queue; None to count none.
        count_task: Called with a model's name, a task, its number of items and its seconds, when it is done.
    """

    registry: Models
    images: ImageInput
    limits: RequestLimits
    count_tokens: Callable[[int], None] | None = None
    count_task: CountTask | None = None

    async def run(self, task: Task[R], *, started: float | None = None) -> R:
        """Run a task and return its result.

        Args:
            task: The task.
            started: Start of the request by ``time.monotonic``, if the task is only a part of it; None for now.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        cancel = self.start(task, _FutureCaller(future), started=started)
        try:
            return await future
        except asyncio.CancelledError:
            cancel()
            raise
        finally:
            del future, cancel  # breaks the reference cycle between the error's traceback and this frame

    def start(self, task: Task[R], caller: Caller[R], *, started: float | None = None) -> Callable[[], None]:
        """Start a task and call ``caller`` with its result.

        Few short texts need neither a coroutine nor a thread: an ``asyncio`` task and a future take 9 µs of the 100 µs
        that the front end spends on a short text.

        Args:
            task: The task.
            caller: Receives the result, after this method has returned. It is not called if this method raises.
            started: As in ``run``.

        Returns:
            A function that cancels the task; the caller is not called afterwards.

        Raises:
            RequestError: The request is invalid.
            QueueFullError: The queue is full.
            EngineError: The model is not ready.
        """
        task.check(self.limits)
        name = task.model
        try:
            model = self.registry.get(name.name, library=name.library, pretrained=name.pretrained)
        except ModelNotLoadedError:
            # Another process that shares the repository may have loaded the model: look again.
            return _call_later(self._run_refreshed(task, started or time.monotonic()), caller)
        queue = task.admit(model, self.limits)
        timeout_s = self.limits.timeout_s if started is None else self._time_left_s(started)
        looks_up_first = queue.looks_up_first
        if not looks_up_first:
            queue.refuse_when_late(len(task), timeout_s)
        timeline = current.get()
        if timeline is not None:
            timeline.begin_task(model.manifest.name, task_name(type(task)), len(task))
        inputs = task.prepare(model, self.images)
        if isinstance(inputs, (list, Sequence)):  # a list first, because the other check takes long
            if timeline is not None:
                timeline.tokenized(_tokens_of(inputs), timeline.latest)
            waiter = _Waiter(self, task, model, caller, time.monotonic() if started is None else started)
            cancel = queue.put(inputs, waiter, timeout_s=timeout_s, is_let_in=not looks_up_first)
            if self.count_tokens is not None:
                self.count_tokens(_tokens_of(inputs))
            return cancel
        if looks_up_first:  # preparing these inputs takes long, so refuse the request before it is known what is cached
            queue.refuse_when_late(len(task), timeout_s)
        work = self._run_groups(task, model, queue, inputs, started or time.monotonic())
        return _call_later(work, caller, model.preparing)

    async def model(self, name: ModelName) -> LoadedModel:
        """Return a loaded model; look for models that other processes have loaded, too, and load one on demand."""
        return await self._model(name, time.monotonic())

    async def _model(self, name: ModelName, started: float) -> LoadedModel:
        try:
            return self._get(name)
        except ModelNotLoadedError:
            await self._refresh()
        while True:
            try:
                return self._get(name)
            except ModelNotLoadedError:
                if not self.registry.loads_on_demand:
                    raise
            await self._wait_for(name, started)

    async def _wait_for(self, name: ModelName, started: float) -> None:
        """Have a model loaded on demand, within the request's deadline."""
        try:
            async with asyncio.timeout(self._time_left_s(started)):
                await self.registry.demand(name.name, name.library, name.pretrained)
        except (TimeoutError, DeadlineExceededError):
            message = f"Model {name.name!r} was not loaded within {self.limits.timeout_s:g} s; it is loaded further."
            raise ModelLoadingError(message, param="name", retry_after_s=_RETRY_AFTER_S) from None

    async def _run_refreshed(self, task: Task[R], started: float) -> R:
        await self._model(task.model, started)
        return await self.run(task, started=started)

    async def _run_groups(
        self, task: Task[R], model: LoadedModel, queue: Queue[Any], groups: Groups, started: float
    ) -> R:
        """Compute a group of inputs while the next group is prepared, so that at most two are in memory."""
        running: asyncio.Task[Rows] | None = None
        done: list[Rows] = []
        try:
            async with aclosing(groups):
                timeline, began = current.get(), time.perf_counter()
                while (inputs := await self._in_time(anext(groups, None), started)) is not None:
                    if timeline is not None and (tokens := _tokens_of(inputs)):
                        timeline.tokenized(tokens, began)
                    if running is not None:
                        done.append(await running)
                    began = time.perf_counter()
                    running = asyncio.create_task(queue.submit(inputs, timeout_s=self._time_left_s(started)))
                    if self.count_tokens is not None:
                        self.count_tokens(_tokens_of(inputs))
            assert running is not None
            done.append(await running)
        except BaseException as error:  # also on cancellation, cancel the running batch
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            _name_item(error, task, sum(map(len, done)))
            if isinstance(error, EngineUnavailableError):
                self.registry.suspect()
            elif isinstance(error, ModelNotLoadedError):
                await self._raise_missing(task.model)
            raise
        finally:
            running = None  # breaks the reference cycle between the error's traceback and this frame
        result = task.finish(model, done[0] if len(done) == 1 else np.concatenate(done))
        if self.count_task is not None:
            self.count_task(model.manifest.name, task, len(task), time.monotonic() - started)
        return result

    async def _raise_missing(self, name: ModelName) -> NoReturn:
        """Raise the reason why a graph is not loaded: its model was unloaded (404) or the engine has lost it (503)."""
        await self._refresh()
        self._get(name)
        self.registry.suspect()
        raise EngineUnavailableError(f"Model {name.name!r} is being loaded again.", retry_after_s=1.0)

    def _get(self, name: ModelName) -> LoadedModel:
        return self.registry.get(name.name, library=name.library, pretrained=name.pretrained)

    async def _refresh(self) -> None:
        """Reread the list of loaded models, with the timeout of a request: its file may be on a disk that hangs."""
        await self._in_time(self.registry.refresh(), time.monotonic())

    async def _in_time(self, work: Awaitable[T], started: float) -> T:
        try:
            async with asyncio.timeout(self._time_left_s(started)):
                return await work
        except TimeoutError:
            raise self._deadline_exceeded() from None

    def _time_left_s(self, started: float) -> float:
        left = self.limits.timeout_s - (time.monotonic() - started)
        if left <= 0:
            raise self._deadline_exceeded()
        return left

    def _deadline_exceeded(self) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"The request was not finished within {self.limits.timeout_s:g} s (INGRAIN_REQUEST_TIMEOUT_S)."
        )


class _Waiter(msgspec.Struct, Generic[R], eq=False):
    """Receives the rows of a task from its queue and calls the task's caller with the result."""

    pipeline: Pipeline
    task: Task[R]
    model: LoadedModel
    caller: Caller[R]
    began: float

    def done(self, rows: Rows) -> None:
        try:
            result = self.task.finish(self.model, rows)
            if (count := self.pipeline.count_task) is not None:
                count(self.model.manifest.name, self.task, len(rows), time.monotonic() - self.began)
        except Exception as error:  # any error: the other requests of the batch must go on
            self.caller.failed(error)
        else:
            self.caller.done(result)

    def failed(self, error: IngrainError) -> None:
        if isinstance(error, ModelNotLoadedError):
            _call_later(self.pipeline._raise_missing(self.task.model), self.caller)
            return
        if isinstance(error, EngineUnavailableError):
            self.pipeline.registry.suspect()
        _name_item(error, self.task)
        self.caller.failed(error)


@cache
def task_name(kind: type[Task[Any]]) -> str:
    """Return the name of a kind of tasks, which is that of its module."""
    return kind.__module__.rpartition(".")[2]


def _tokens_of(inputs: Sequence[Any]) -> int:
    """Return the number of tokens of tokenized texts; 0 for images."""
    return sum(lengths_of(inputs)) if len(inputs) and isinstance(inputs[0], TokenizedText) else 0


def _name_item(error: BaseException, task: Task[Any], first: int = 0) -> None:
    """Write the request's name of the item at fault, such as ``text[3]``, into an error of the engine.

    Args:
        error: Any error.
        task: The task.
        first: Index in the request of the first item that was in the queue.
    """
    name_of = getattr(task, "item_name", None)  # an extension's task need not have it
    if name_of is not None and isinstance(error, EngineError) and error.item is not None and error.param is None:
        error.param = name_of(first + error.item)
        error.message = f"{error.param}: {error.message}"


class _FutureCaller(Generic[R]):
    """Stores a result in a future."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[R]) -> None:
        self._future = future

    def done(self, result: R) -> None:
        if not self._future.done():
            self._future.set_result(result)

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


_running: set[asyncio.Task[None]] = set()  # the event loop has only weak references to its tasks


def _call_later(
    work: Coroutine[Any, Any, R], caller: Caller[R], running: set[asyncio.Task[None]] = _running
) -> Callable[[], None]:
    """Start an asyncio task that calls the caller with the result of ``work``; return a function that cancels it.

    Args:
        work: The work.
        caller: Gets the result.
        running: Holds the task while it runs.
    """

    async def run() -> None:
        try:
            result = await work
        except Exception as error:  # any error: the caller must not wait forever
            caller.failed(error)
        else:
            caller.done(result)

    task = asyncio.get_running_loop().create_task(run())
    running.add(task)
    task.add_done_callback(running.discard)
    task.add_done_callback(lambda _: work.close())  # needed if the task is cancelled before its first step
    return partial(_cancel, task)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
