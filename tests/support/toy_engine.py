"""An engine from outside Ingrain: this module and one entry in a table are all of it."""

import numpy as np

from ingrain.engine.statistics import Recorder
from ingrain.engine.table import EngineSpec
from ingrain.errors import ModelNotLoadedError

WIDTH = 8


def toy_vector(ids) -> np.ndarray:
    """Return the vector of a text's token ids: how often each remainder occurs."""
    return np.bincount(np.asarray(ids) % WIDTH, minlength=WIDTH).astype(np.float32)


class ToyEngine:
    """Counts tokens with numpy; it reads no ONNX file."""

    backend = None
    instances = 1

    def __init__(self) -> None:
        self._loaded = {}

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        self._loaded.clear()

    async def live(self) -> bool:
        return True

    async def load(self, graph, layout=None) -> None:
        self._loaded.setdefault(graph.name, (graph, Recorder(graph.name)))

    async def unload(self, name) -> None:
        self._loaded.pop(name, None)

    async def ready(self, name) -> bool:
        return name in self._loaded

    async def infer(self, name, inputs, *, timeout_s=None, alone=False, outputs=None):
        if name not in self._loaded:
            raise ModelNotLoadedError(f"graph {name!r} is not loaded")
        graph, recorder = self._loaded[name]
        kept = inputs["attention_mask"] != 0
        rows = [toy_vector(ids[mask]) for ids, mask in zip(inputs["input_ids"], kept, strict=True)]
        recorder.succeeded(len(rows), queue_ns=0, compute_ns=1)
        return {graph.outputs[0].name: np.stack(rows)}

    async def statistics(self):
        return [recorder.snapshot() for _, recorder in self._loaded.values()]

    def on_restart(self, callback) -> None:
        pass


ENGINES = {
    "toy": EngineSpec(
        make=lambda options, policy, gpus: ToyEngine(),
        describe=lambda options: "a toy",
        in_server_process=True,
    )
}
