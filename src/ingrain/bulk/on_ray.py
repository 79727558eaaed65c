"""Runs a job on a Ray cluster: actors that each hold the model make the parts; those of a dead node are made again."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from ingrain.bulk.here import PARTS_AT_ONCE, Tell, check_complete
from ingrain.bulk.job import Job, Options, make_part
from ingrain.bulk.opened import Place, open_bulk_model
from ingrain.bulk.splits import Split
from ingrain.cores import usable_cores
from ingrain.errors import IngrainError, SettingsError
from ingrain.install_hint import install_hint

LOCAL = "local"
"""Address that starts Ray on this machine, for the time of the job."""

_OBJECT_STORE_BYTES = 256 * 1024 * 1024  # parts go to their files, so that next to nothing is kept there
_MOST_TRIES = 4
_LOOK_EVERY_S = 2.0

log = logging.getLogger("ingrain.bulk")


class Actors(msgspec.Struct, frozen=True, kw_only=True):
    """The actors of a job.

    Attributes:
        count: Their number; None for as many as the cluster's CPUs, or GPUs, allow.
        cpus: Cores of each.
        gpus: GPUs of each; below 1 for several actors on one GPU.
    """

    count: int | None = None
    cpus: int = 1
    gpus: float = 0.0


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, or start one of this machine alone if the address is ``local``.

    Raises:
        SettingsError: Ray is not installed, or no cluster can be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would take GPUs away from actors that ask for none, and say so in a warning.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = _import_ray()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {
            "address": LOCAL,
            "num_cpus": usable_cores(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
        }
    else:
        options["address"] = address
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises plain ones, too
        log.warning("ray.init failed: %s", error)
        what = "Ray cannot be started here" if address == LOCAL else f"No Ray cluster can be reached at {address!r}"
        raise SettingsError(f"{what}; the log says why.", param="--ray") from error
    try:
        yield
    finally:
        ray.shutdown()


def run_on_ray(job: Job, place: Place, actors: Actors, tell: Tell) -> None:
    """Make all missing parts of a job on the cluster that this process is connected to.

    Args:
        job: The job.
        place: Where the model runs; ``threads`` and ``on_gpu`` are decided by ``actors``.
        actors: The actors.
        tell: Is told the rows of each part that was made.

    Raises:
        IngrainError: A part cannot be made; the others are kept.
    """
    missing = job.missing()
    if missing:
        place = msgspec.structs.replace(place, threads=actors.cpus, on_gpu=actors.gpus > 0)
        _Run(job, place, actors, tell).run(missing)
    check_complete(job)


class _Maker:
    """Makes parts in an actor's process."""

    def __init__(self, options: Options, place: Place) -> None:
        self._options = options
        self._place = place
        self._model: Any = None

    def open(self) -> tuple[str, IngrainError | None]:
        """Open the model and return the digest of its weights, or the error."""
        try:
            self._model = open_bulk_model(self._options.wanted, self._place)
        except IngrainError as error:
            return "", plain(error)
        return self._model.identity, None

    def make(self, split: Split, part: str) -> tuple[int, IngrainError | None]:
        """Make a part and return the number of its rows, or the error."""
        try:
            return make_part(self._options, split, part, self._model.embed), None
        except IngrainError as error:
            return 0, plain(error)


def plain(error: IngrainError) -> IngrainError:
    """Return an error as a value that another process can read: without cause and frames."""
    return (
        SettingsError(error.message, param=error.param)
        if isinstance(error, SettingsError)
        else IngrainError(error.message, param=error.param)
    )


class _Run:
    """One run of a job: its actors, and what each is doing."""

    def __init__(self, job: Job, place: Place, actors: Actors, tell: Tell) -> None:
        self._ray = _import_ray()
        self._job, self._actors, self._tell = job, actors, tell
        self._place = place
        self._opening: dict[Any, Any] = {}  # actors by the reference to their opening
        self._open: list[Any] = []
        self._running: dict[Any, tuple[Any, int]] = {}  # actor and part by the reference to the making
        self._tries: Counter[int] = Counter()
        self._deaths = 0
        self._look_at = 0.0

    def run(self, missing: list[int]) -> None:
        """Make these parts."""
        waiting = deque(missing)
        try:
            while waiting or self._running:
                self._add_actors(len(waiting) + len(self._running))
                self._hand_out(waiting)
                ready, _ = self._ray.wait([*self._opening, *self._running], timeout=_LOOK_EVERY_S)
                for reference in ready:
                    if reference in self._opening:
                        self._opened(reference)
                    elif (number := self._made(reference)) is not None:
                        waiting.appendleft(number)
        finally:
            for actor in [*self._opening.values(), *self._open]:
                self._ray.kill(actor)

    def _add_actors(self, parts: int) -> None:
        """Start the actors that are wanted and that the cluster has room for; it may have grown or lost a node."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        has, wants = self._ray.cluster_resources(), self._actors
        room = int(has.get("CPU", 0) // wants.cpus)
        if wants.gpus:
            room = min(room, int(has.get("GPU", 0) / wants.gpus + 1e-9))
        if room == 0 and wants.count is None and not self._open:
            raise SettingsError(
                f"The cluster has no room for an actor with {wants.cpus} CPUs and {wants.gpus:g} GPUs.", param="--cpus"
            )
        # A given number may wait for room: that has a cluster with an autoscaler start nodes.
        count = min(wants.count or room, parts)
        while len(self._opening) + len(self._open) < count:
            actor = self._make_actor()
            self._opening[actor.open.remote()] = actor

    def _make_actor(self) -> Any:
        wants = self._actors
        kind = self._ray.remote(_Maker).options(
            num_cpus=wants.cpus, num_gpus=wants.gpus, max_concurrency=PARTS_AT_ONCE, max_restarts=0
        )
        return kind.remote(self._job.options, self._place)

    def _hand_out(self, waiting: deque[int]) -> None:
        busy = Counter(actor for actor, _ in self._running.values())
        for load in range(PARTS_AT_ONCE):  # first one part for each, so that the last parts are spread
            for actor in self._open:
                if waiting and busy[actor] == load:
                    number = waiting.popleft()
                    busy[actor] += 1
                    making = actor.make.remote(self._job.note.splits[number], self._job.part(number))
                    self._running[making] = actor, number

    def _opened(self, reference: Any) -> None:
        actor = self._opening.pop(reference)
        try:
            weights, error = self._ray.get(reference)
        except self._ray.exceptions.RayError as died:
            self._count_death(died)
            return
        if error is not None:
            raise error
        self._open.append(actor)
        self._job.use_weights(weights)

    def _made(self, reference: Any) -> int | None:
        """Take the result of a part; return its number if its actor has died, so that it is made again."""
        actor, number = self._running.pop(reference)
        try:
            rows, error = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:
            raise  # a bug of ours, and not the death of a process
        except self._ray.exceptions.RayError as died:
            if actor in self._open:
                self._open.remove(actor)
                self._ray.kill(actor)  # one that only cannot be reached would keep its cores
                log.warning("An actor has died (%s); its parts are made again.", type(died).__name__)
            self._tries[number] += 1
            if self._tries[number] == _MOST_TRIES:
                raise IngrainError(
                    f"{self._job.part(number)} could not be made: {_MOST_TRIES} actors died over it, for example "
                    "because they had too little memory. Use fewer rows a part."
                ) from died
            return number
        if error is not None:
            raise error
        self._tell(rows)
        return None

    def _count_death(self, died: Exception) -> None:
        self._deaths += 1
        if self._deaths >= _MOST_TRIES and not self._open:
            raise IngrainError(
                f"{self._deaths} actors died while they opened the model, for example because they had too little "
                "memory, or because Ingrain is not installed on the nodes."
            ) from died


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise SettingsError(f"--ray needs Ray: {install_hint('ray')}.", param="--ray") from error
    return ray
