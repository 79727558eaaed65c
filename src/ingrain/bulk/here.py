"""Runs a job in this process: a few parts at a time, through a service or on a model of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from ingrain.bulk.job import Job, make_part
from ingrain.bulk.opened import Place, open_bulk_model
from ingrain.bulk.storage import join, names_in, remove
from ingrain.errors import SettingsError

# While one part is computed, the part before it is written and the next one is read.
PARTS_AT_ONCE = 2

Tell = Callable[[int], None]
"""Is told the rows of each part that was made."""


def run_here(job: Job, place: Place, tell: Tell) -> None:
    """Make all missing parts of a job.

    Raises:
        IngrainError: A part cannot be made; the others are kept.
    """
    missing = job.missing()
    if not missing:
        return
    model = open_bulk_model(job.options.wanted, place)
    pool = ThreadPoolExecutor(PARTS_AT_ONCE, "ingrain-part")
    try:
        job.use_weights(model.identity)
        running: set[Future[int]] = set()
        for number in missing:
            split, part = job.note.splits[number], job.part(number)
            running.add(pool.submit(make_part, job.options, split, part, model.embed))
            if len(running) > PARTS_AT_ONCE:
                running = _told(running, tell)
        while running:
            running = _told(running, tell)
    finally:
        model.close()  # also ends what is in progress after an error
        pool.shutdown(cancel_futures=True)
    check_complete(job)


def check_complete(job: Job) -> None:
    """Check that every part is there, and remove what processes left that were killed while they wrote one.

    Raises:
        SettingsError: Some are not.
    """
    if missing := job.missing():
        raise SettingsError(
            f"{len(missing)} parts were written but are not in {job.output}, such as {job.part(missing[0])}: every "
            "node must reach the same output, on a shared disk or in object storage.",
            param="--output",
        )
    for name in names_in(job.output):
        if name.startswith(".part-"):
            remove(join(job.output, name))


def _told(running: set[Future[int]], tell: Tell) -> set[Future[Any]]:
    done, others = wait(running, return_when=FIRST_COMPLETED)
    for one in done:
        tell(one.result())
    return others
