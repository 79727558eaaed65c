"""A model that can be inferred: its manifest, its preprocessing, and one queue for each of its graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.batching.batcher import Batcher
from ingrain.engine.protocol import GraphRunner
from ingrain.errors import IngrainError, ModalityError
from ingrain.models.queues import QueueLimits, queue_of
from ingrain.postprocess.calibration import CalibrationRanges
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import ImagePreprocess, Manifest
from ingrain.repository.store import Entry
from ingrain.repository.tuning import Execution
from ingrain.roles import ROLES
from ingrain.vocabulary import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """All that a request needs of a model.

    Attributes:
        manifest: The published manifest.
        queues: One a graph, by its role: ``float32 [N, …]`` from the items of the graph.
        text: Tokenizes, where the model takes text.
        image: Prepares images, where the model takes images.
        calibration: Ranges of text vectors, where they were measured.
        label_vectors: Text vectors of label sets, the latest used last.
        devices: On how many processors the engine makes each copy of a graph.
    """

    manifest: Manifest
    queues: dict[Role, Batcher[Any]] = field(default_factory=dict)
    text: TextPreprocessor | None = None
    image: ImagePreprocessor | None = None
    calibration: CalibrationRanges | None = None
    label_vectors: OrderedDict[tuple[str, ...], NDArray[np.float32]] = field(default_factory=OrderedDict)
    devices: int = 1

    def queue(self, role: Role, param: str, what: str) -> Batcher[Any]:
        """Return the queue of the graph that has a role.

        Args:
            role: The role.
            param: The caller's name of the field that needs it, for the error.
            what: What such a graph does, as the end of "does not ...".

        Raises:
            ModalityError: The model has no such graph.
        """
        queue = self.queues.get(role)
        if queue is None:
            raise ModalityError(f"Model {self.manifest.name!r} does not {what}.", param=param)
        return queue

    def close(self, error: IngrainError) -> None:
        """Answer what waits in the queues with this error."""
        for queue in self.queues.values():
            queue.close(error)

    def retune(self, executions: Mapping[Role, Execution]) -> None:
        """Have the queues follow how their graphs are executed from now on."""
        for role, queue in self.queues.items():
            if (execution := executions.get(role)) is not None:
                queue.retune(
                    max_items=execution.max_items,
                    max_tokens=ROLES[role].batch_tokens(execution.max_items, execution.max_tokens),
                    in_flight=execution.layout.copies * self.devices + 1,
                )


def open_model(
    entry: Entry, engine: GraphRunner, limits: QueueLimits, images: Callable[[ImagePreprocess], ImagePreprocessor]
) -> LoadedModel:
    """Read the side files of a model whose graphs the engine has loaded; blocks on the disk.

    Args:
        entry: From the repository.
        engine: Runs its graphs.
        limits: Of its queues.
        images: Makes the preprocessor of a model that takes images.
    """
    manifest = entry.manifest
    return LoadedModel(
        manifest=manifest,
        queues={graph.role: queue_of(graph, manifest, engine, limits) for graph in manifest.graphs},
        text=TextPreprocessor(manifest.text, entry.folder) if manifest.text is not None else None,
        image=images(manifest.image) if manifest.image is not None else None,
        calibration=_calibration(entry),
        devices=limits.devices,
    )


def check_model(
    entry: Entry, engine: GraphRunner, limits: QueueLimits, images: Callable[[ImagePreprocess], ImagePreprocessor]
) -> LoadedModel:
    """Open a model that other processes serve, so that a fault shows while its load can still fail.

    Returns:
        The manifest alone, without queues.
    """
    return LoadedModel(manifest=open_model(entry, engine, limits, images).manifest)


def _calibration(entry: Entry) -> CalibrationRanges | None:
    if entry.manifest.calibration is None:
        return None
    return CalibrationRanges(np.load(entry.folder / entry.manifest.calibration.file, allow_pickle=False))
