"""Baseline for images: Pillow, the server's image steps and the published graph in one process, fastest setting."""

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
from ingrain.repository.image_preprocess import ImagePreprocess


@dataclass(frozen=True)
class Setting:
    """Threads and batch size of the baseline.

    Attributes:
        sessions: Sessions on the graph, each called by its own thread.
        threads: Threads per session.
        decoders: Threads that decode the next batches; 0 if the threads that call the sessions decode, too.
        spinning: Whether threads of a session spin while they wait.
        batch: Images per batch.
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
    """Decodes images and runs them through the graph; use as a context manager."""

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
        """Process the files in turn for ``seconds``.

        With decoding threads, a session's next batch is decoded while the session runs a batch. The first batches are
        decoded before the measurement starts, because as many are decoded in excess when it ends.
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
        """Decode and resize an image to the graph's input, ``uint8 [H, W, 3]``, without the checks of a server."""
        with Image.open(BytesIO(file)) as image:
            return np.asarray(apply_steps(self._config.steps, image))

    def run(self, pixels: Sequence[np.ndarray], number: int = 0) -> np.ndarray:
        """Run a batch and return the graph's output."""
        return self.sessions[number].run(None, {self._input: np.stack(pixels)})[0]

    def _decode_ahead(self, feed: itertools.cycle) -> list[Future]:
        if self._pool is None:
            return []
        return [self._pool.submit(self.prepare, next(feed)) for _ in range(self._setting.batch)]
