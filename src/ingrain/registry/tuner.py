"""Tunes a loaded model: sweeps its graphs, stores the result and applies it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import msgspec

from ingrain.errors import IngrainError, ModelConflictError, TuningError
from ingrain.machine_faults import machine_fault
from ingrain.progress import Progress
from ingrain.registry.graphs import EngineGraphs, too_slow
from ingrain.registry.layouts import ModelLayouts
from ingrain.registry.slots import Slot
from ingrain.repository.manifest import Graph
from ingrain.repository.store import ChangeTunings, Entry, Repository
from ingrain.repository.tuning import GraphTuning, Tuning
from ingrain.tuning.machine import TuningMachine, graphs_digest
from ingrain.tuning.sweep import PASSES_A_SWEEP, Sweep
from ingrain.tuning.track import EngineTrack

# Share of a tuning's duration for measuring; the rest is for loading graphs.
_SHARE_OF_PASSES = 0.5
# A large image tower needs minutes for a batch of 64 images on one core.
_BATCH_TIMEOUT_S = 900.0

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class Tuner:
    """Tunes models. The caller holds the model's lock."""

    repository: Repository
    graphs: EngineGraphs
    place: TuningMachine
    clock: Callable[[], float]

    async def tune(self, slot: Slot, seconds: float) -> None:
        """Find the fastest execution of a loaded model, store it in the manifest, and apply it.

        Requests get 503 while graphs are loaded in other layouts, and are served while only batch sizes are tried. A
        model that was not ready at the start does not serve during the tuning.

        Args:
            slot: The model's slot.
            seconds: Target duration; a measurement that has started is finished.

        Raises:
            TuningError: The engine failed or was too slow. The former layout is restored, if necessary when the engine
                is back.
            ModelConflictError: The model was replaced in the repository.
        """
        layouts = ModelLayouts(slot, self.graphs, self.place)
        manifest = layouts.manifest
        names = [graph.name for graph in manifest.graphs]
        try:
            # Another server may have replaced the loaded model; an empty change raises ModelConflictError then.
            await self._change_tunings(layouts, lambda tunings: tunings)
            self.graphs.ledger.hold(names, await self.graphs.engine.statistics())
            tuning = await self._sweep(layouts, seconds)

            def change(tunings: tuple[Tuning, ...]) -> tuple[Tuning, ...]:
                return self.place.with_tuning(tunings, tuning)

            # Load before storing, so that the manifest stays unchanged if the engine fails.
            await layouts.change_all(msgspec.structs.replace(manifest, tunings=change(manifest.tunings)))
            await layouts.adopt(await self._change_tunings(layouts, change))
        except (IngrainError, TimeoutError, OSError) as error:
            await layouts.restore()
            raise _ended(slot, error) from error
        except Exception as error:  # whatever failed, the model must not stay in a layout of the sweep
            log.exception("Tuning %r failed", slot.ref.name)
            await layouts.restore()
            raise _ended(slot, None) from error
        finally:
            slot.progress = None
            await self._count_again(names)
        log.info("Model %r is tuned: %s", slot.ref.name, _describe(tuning))

    async def reset(self, slot: Slot) -> bool:
        """Remove a loaded model's tunings for this machine and restore the default execution; return True if any.

        Raises:
            ModelConflictError: The model was replaced in the repository.
            EngineError: The engine could not load a graph; the reconciler tries again.
        """
        layouts = ModelLayouts(slot, self.graphs, self.place)
        entry = await self._change_tunings(layouts, self.place.without_tunings)
        try:
            await layouts.adopt(entry)
        except TimeoutError as error:
            raise too_slow() from error
        return entry.manifest.tunings != layouts.manifest.tunings

    async def _change_tunings(self, layouts: ModelLayouts, change: ChangeTunings) -> Entry:
        return await asyncio.to_thread(self.repository.change_tunings, layouts.slot.key, layouts.manifest, change)

    async def _sweep(self, layouts: ModelLayouts, seconds: float) -> Tuning:
        started = self.clock()
        graphs = layouts.manifest.graphs
        found = [
            await self._sweep_graph(layouts, graph, seconds / len(graphs), number)
            for number, graph in enumerate(graphs)
        ]
        return Tuning(
            machine=self.place.machine,
            graphs_sha256=graphs_digest(layouts.manifest),
            given=dict(self.place.given),
            tuned_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(self.clock() - started, 1),
            graphs=tuple(found),
        )

    async def _sweep_graph(self, layouts: ModelLayouts, graph: Graph, seconds: float, number: int) -> GraphTuning:
        def on_progress(done: int, total: int) -> None:
            graphs = len(layouts.manifest.graphs)
            layouts.slot.progress = Progress(
                phase="tune", done=number * total + done, total=graphs * total, unit="measurements"
            )

        on_progress(0, PASSES_A_SWEEP)
        default = self.place.default_of(graph)
        track = EngineTrack(
            self.graphs.engine,
            layouts.manifest,
            graph,
            lay_out=partial(layouts.change, graph),
            serve=layouts.serve,
            devices=self.place.devices,
            timeout_s=_BATCH_TIMEOUT_S,
            clock=self.clock,
        )
        started = self.clock()
        await layouts.apply_settings(graph, default.layout)
        # After loading the default layout: the candidates depend on the memory that it leaves free.
        candidates = await asyncio.to_thread(self.place.candidates, graph)
        await track.prepare(default, _SHARE_OF_PASSES * seconds / PASSES_A_SWEEP)
        left_s = seconds - (self.clock() - started)
        sweep = Sweep(track, graph.role, default, candidates, seconds=left_s, clock=self.clock, tell=on_progress)
        return await sweep.run()

    async def _count_again(self, names: list[str]) -> None:
        try:
            self.graphs.ledger.go_on(names, await self.graphs.engine.statistics())
        except IngrainError:
            self.graphs.ledger.forget(names)  # the engine cannot be reached, and its restart resets its statistics


def _ended(slot: Slot, error: Exception | None) -> IngrainError:
    if isinstance(error, ModelConflictError):
        return error
    if isinstance(error, OSError) and (fault := machine_fault(error)) is not None:
        return fault
    why = "it took too long, or broke; the log says more"
    if isinstance(error, IngrainError):
        why = error.message.rstrip(".")
    return TuningError(
        f"The tuning of model {slot.ref.name!r} was ended ({why}). The model is executed as before, once the "
        "engine answers."
    )


def _describe(tuning: Tuning) -> str:
    words = []
    for graph in tuning.graphs:
        chosen = graph.chosen
        tokens = f", {chosen.max_tokens} tokens" if chosen.max_tokens else ""
        words.append(
            f"{graph.role} {chosen.layout.copies} copies x {chosen.layout.threads} threads, {chosen.max_items} items"
            f"{tokens}, {graph.ratio:.2f} times the default"
        )
    return "; ".join(words)
