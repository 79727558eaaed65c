"""The yardstick for images: Pillow, the server's image steps and the published graph in one process, at its fastest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bare import Rate, open_sessions, side_by_side
from ingrain.preprocess.image_steps import apply_steps
from ingrain.repository.manifest import ImagePreprocess


@dataclass(frozen=True)
class Setting:
    """How the process uses its cores.

    Attributes:
        sessions: Sessions on the graph, each run by a thread of its own.
        threads: Threads of a session.
        decoders: Threads that decode the next batches meanwhile; 0 where those that run the sessions do it themselves.
        spinning: True where a session's threads keep the cores while they wait.
        batch: Pictures in a batch.
    """

    sessions: int
    threads: int
    decoders: int
    spinning: bool
    batch: int

    def __str__(self) -> str:
        decoders = f"{self.decoders} decoding threads" if self.decoders else "each decoding for itself"
        spinning = " (spinning)" if self.spinning else ""
        return f"{self.sessions} sessions × {self.threads} threads{spinning}, {decoders}, batches of {self.batch}"


class BareImages:
    """Decodes pictures and runs them, with nothing else around it; use as a context."""

    def __init__(self, graph: Path, config: ImagePreprocess, setting: Setting) -> None:
        self._config = config
        self._setting = setting
        self.sessions = open_sessions(
            graph,
            sessions=setting.sessions,
            threads=setting.threads,
            spinning=setting.spinning,
            disabled_optimizers=(),
        )
        self._input = self.sessions[0].get_inputs()[0].name
        self._pool = ThreadPoolExecutor(setting.decoders) if setting.decoders else None

    def __enter__(self) -> BareImages:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def rate(self, files: Sequence[bytes], seconds: float) -> Rate:
        """Walk through the files until the time is up.

        Where other threads decode, each session's next batch is decoded while it runs one; the first ones are there
        before the clock starts, as the last ones are when it stops.
        """
        feed = itertools.cycle(files)
        ahead = [self._decode_ahead(feed) for _ in self.sessions]
        for futures in ahead:
            for future in futures:
                future.result()

        def run_next(number: int) -> tuple[int, int]:
            if self._pool is None:
                pixels = [self.prepare(next(feed)) for _ in range(self._setting.batch)]
            else:
                futures, ahead[number] = ahead[number], self._decode_ahead(feed)
                pixels = [future.result() for future in futures]
            self.run(pixels, number)
            return len(pixels), 0

        rate = side_by_side(run_next, len(self.sessions), seconds)
        for futures in ahead:
            for future in futures:
                future.result()
        return rate

    def prepare(self, file: bytes) -> np.ndarray:
        """Return a picture as the graph takes it, ``uint8 [H, W, 3]``; without the checks that a server needs."""
        with Image.open(BytesIO(file)) as image:
            return np.asarray(apply_steps(self._config.steps, image))

    def run(self, pixels: Sequence[np.ndarray], number: int = 0) -> np.ndarray:
        """Return what the graph makes of a batch."""
        return self.sessions[number].run(None, {self._input: np.stack(pixels)})[0]

    def _decode_ahead(self, feed: itertools.cycle) -> list[Future]:
        if self._pool is None:
            return []
        return [self._pool.submit(self.prepare, next(feed)) for _ in range(self._setting.batch)]
