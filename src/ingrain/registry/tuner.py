"""Tunes a loaded model: sweeps its graphs, keeps what was found, and has the model executed that way."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from ingrain.engine.protocol import Engine
from ingrain.engine.statistics import Ledger
from ingrain.errors import EngineUnavailableError, IngrainError, ModelConflictError, TuningError
from ingrain.export.process.job import Progress
from ingrain.models.loaded import LoadedModel
from ingrain.registry.table import Slot
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.store import Entry, Repository
from ingrain.repository.tuning import GraphTuning, Layout, Tuning
from ingrain.tuning.place import TuningPlace, graphs_digest
from ingrain.tuning.sweep import PASSES_A_SWEEP, Sweep
from ingrain.tuning.track import EngineTrack

# Of the time, what goes into passes; the rest is loading.
_SHARE_OF_PASSES = 0.5
# A batch of 64 pictures takes a large tower minutes on one core.
_BATCH_TIMEOUT_S = 900.0

LoadGraph = Callable[[Manifest, Graph, Layout], Awaitable[None]]
"""Has the engine load a graph anew in a layout."""

log = logging.getLogger("ingrain.registry")


class Tuner:
    """Tunes one model at a time; whoever calls it holds the model against every other change.

    Args:
        repository: Where the manifests are.
        engine: Runs the graphs.
        place: What is known of this machine.
        load_graph: Loads a graph anew.
        settle: Waits until every process that serves knows the models' states.
        ledger: Keeps the sweep out of the statistics.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        repository: Repository,
        engine: Engine,
        place: TuningPlace,
        *,
        load_graph: LoadGraph,
        settle: Callable[[int | None], Awaitable[None]],
        ledger: Ledger,
        clock: Callable[[], float],
    ) -> None:
        self._repository = repository
        self._engine = engine
        self._place = place
        self._load_graph = load_graph
        self._settle = settle
        self._ledger = ledger
        self._clock = clock

    async def tune(self, slot: Slot, seconds: float) -> Tuning:
        """Find out how a loaded model runs fastest, keep it in the manifest, and have it run that way.

        Requests are told to come again while graphs are loaded in other layouts, and are served while only batches
        differ; a model that did not serve before does not serve meanwhile.

        Args:
            slot: Of the model.
            seconds: How long it should take; what has begun is finished.

        Raises:
            TuningError: The engine failed, or took too long. The model has its former layout, or will have it when
                the engine is back.
            ModelConflictError: The model was replaced in the repository.
        """
        assert slot.model is not None
        run = _Run(slot, slot.model, serves=slot.state == "READY")
        names = [graph.name for graph in run.manifest.graphs]
        try:
            await self._refuse_when_replaced(run)
            self._ledger.hold(names, await self._engine.statistics())
            tuning = await self._sweep(run, seconds)

            def change(tunings: tuple[Tuning, ...]) -> tuple[Tuning, ...]:
                return self._place.with_tuning(tunings, tuning)

            # Kept is only what the engine has loaded: should it fail now, the manifest still says what it said.
            manifest = msgspec.structs.replace(run.manifest, tunings=change(run.manifest.tunings))
            await self._lay_out_all(run, manifest)
            entry = await asyncio.to_thread(self._repository.change_tunings, slot.key, run.manifest, change)
            await self._take_over(run, entry)
        except (IngrainError, TimeoutError, OSError) as error:
            await self._restore(run)
            raise _ended(run, error) from error
        except Exception as error:  # whatever broke, the model must not stay in a layout that nobody chose
            log.exception("Tuning %r failed", slot.ref.name)
            await self._restore(run)
            raise _ended(run, None) from error
        finally:
            slot.progress = None
            await self._count_again(names)
        log.info("Model %r is tuned: %s", slot.ref.name, _in_words(tuning))
        return tuning

    async def reset(self, slot: Slot) -> bool:
        """Forget the tunings of this machine and have a loaded model run by default; tell whether there were any.

        Raises:
            ModelConflictError: The model was replaced in the repository.
            EngineError: The engine could not load a graph; the registry tries again.
        """
        assert slot.model is not None
        run = _Run(slot, slot.model, serves=slot.state == "READY")
        before = run.manifest.tunings
        entry = await asyncio.to_thread(
            self._repository.change_tunings, slot.key, run.manifest, self._place.without_tunings
        )
        try:
            await self._take_over(run, entry)
        except TimeoutError as error:
            raise EngineUnavailableError("The engine did not load the model in time.", retry_after_s=30) from error
        return entry.manifest.tunings != before

    async def _refuse_when_replaced(self, run: _Run) -> None:
        """Compare with the repository first: what is loaded may be of a model that another server has replaced."""
        await asyncio.to_thread(self._repository.change_tunings, run.slot.key, run.manifest, lambda tunings: tunings)

    async def _sweep(self, run: _Run, seconds: float) -> Tuning:
        started = self._clock()
        graphs = run.manifest.graphs
        found: list[GraphTuning] = []
        for number, graph in enumerate(graphs):
            found.append(await self._sweep_graph(run, graph, seconds / len(graphs), number))
        return Tuning(
            machine=self._place.machine,
            graphs_sha256=graphs_digest(run.manifest),
            given=dict(self._place.given),
            tuned_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(self._clock() - started, 1),
            graphs=tuple(found),
        )

    async def _sweep_graph(self, run: _Run, graph: Graph, seconds: float, number: int) -> GraphTuning:
        def tell(done: int, total: int) -> None:
            graphs = len(run.manifest.graphs)
            run.slot.progress = Progress(
                phase="tune", done=number * total + done, total=graphs * total, unit="measurements"
            )

        async def lay_out(layout: Layout) -> bool:
            return await self._lay_out(run, graph, layout)

        async def serve() -> None:
            run.serve()

        tell(0, PASSES_A_SWEEP)
        default = self._place.default_of(graph)
        track = EngineTrack(
            self._engine,
            run.manifest,
            graph,
            lay_out=lay_out,
            serve=serve,
            enough_items=self._place.enough_items,
            devices=self._place.devices,
            timeout_s=_BATCH_TIMEOUT_S,
            clock=self._clock,
        )
        started = self._clock()
        await lay_out(default.layout)
        # Now, for what memory is left is what the default has left.
        candidates = await asyncio.to_thread(self._place.candidates, graph)
        await track.prepare(default, _SHARE_OF_PASSES * seconds / PASSES_A_SWEEP)
        left_s = seconds - (self._clock() - started)
        sweep = Sweep(track, graph.role, default, candidates, seconds=left_s, clock=self._clock, tell=tell)
        return await sweep.run()

    async def _lay_out(self, run: _Run, graph: Graph, layout: Layout) -> bool:
        if run.layouts[graph.name] == layout:
            return False
        # From here on whoever finds the model must not trust the layout that it is in.
        run.slot.is_displaced = True
        if run.serves and run.slot.state == "READY":
            run.slot.state = "LOADING"
            await self._settle(None)
        run.layouts[graph.name] = None
        await self._load_graph(run.manifest, graph, layout)
        run.layouts[graph.name] = layout
        return True

    async def _lay_out_all(self, run: _Run, manifest: Manifest) -> None:
        executions = self._place.executions(manifest)
        for graph in manifest.graphs:
            await self._lay_out(run, graph, executions[graph.role].layout)

    async def _take_over(self, run: _Run, entry: Entry) -> None:
        """Have the model run as its manifest says now."""
        await self._lay_out_all(run, entry.manifest)
        executions, slot = self._place.executions(entry.manifest), run.slot
        slot.model = dataclasses.replace(run.model, manifest=entry.manifest)
        slot.executions = executions
        slot.model.retune(executions)
        slot.is_displaced = False
        run.serve()
        await self._settle(None)

    async def _restore(self, run: _Run) -> None:
        """Put every graph back into its former layout; where the engine cannot, the registry does when it is back."""
        try:
            for graph in run.manifest.graphs:
                if not await self._engine.ready(graph.name):
                    run.layouts[graph.name] = None
                await self._lay_out(run, graph, run.former[graph.name])
        except (IngrainError, TimeoutError, OSError) as error:
            log.warning("Model %r is not back in its former layout yet: %s", run.slot.ref.name, error)
            run.slot.is_displaced = True
            run.slot.state = "LOADING"
            return
        run.slot.is_displaced = False
        run.serve()

    async def _count_again(self, names: list[str]) -> None:
        try:
            self._ledger.go_on(names, await self._engine.statistics())
        except IngrainError:
            self._ledger.forget(names)  # with the engine its counts are gone


class _Run:
    """One tuning: which model, whether it serves, and the layout of each graph; None where that is not known."""

    def __init__(self, slot: Slot, model: LoadedModel, *, serves: bool) -> None:
        self.slot = slot
        self.model = model
        self.manifest = model.manifest
        self.serves = serves
        self.former: dict[str, Layout] = {
            graph.name: slot.executions[graph.role].layout for graph in model.manifest.graphs
        }
        self.layouts: dict[str, Layout | None] = dict(self.former)

    def serve(self) -> None:
        """Let requests have the model, if they had it before."""
        if self.serves:
            self.slot.state = "READY"


def _ended(run: _Run, error: Exception | None) -> IngrainError:
    if isinstance(error, ModelConflictError):
        return error
    why = "it took too long, or broke; the log says more"
    if isinstance(error, IngrainError):
        why = error.message.rstrip(".")
    return TuningError(
        f"The tuning of model {run.slot.ref.name!r} was ended ({why}). The model is executed as before, once the "
        "engine answers."
    )


def _in_words(tuning: Tuning) -> str:
    words = []
    for graph in tuning.graphs:
        chosen = graph.chosen
        tokens = f", {chosen.max_tokens} tokens" if chosen.max_tokens else ""
        words.append(
            f"{graph.role} {chosen.layout.copies} copies x {chosen.layout.threads} threads, {chosen.max_items} items"
            f"{tokens}, {graph.ratio:.2f} times the default"
        )
    return "; ".join(words)
