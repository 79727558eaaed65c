"""Sums the downloaded bytes of a model's files into one progress that never decreases."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingrain.progress import Progress

_REPORT_EVERY_S = 0.2


class DownloadProgress:
    """Reports the downloaded bytes of all files of a model, at most five times a second.

    Args:
        report: Called with each progress.
        total_bytes: Size of all files together.
    """

    def __init__(self, report: Callable[[Progress], None], *, total_bytes: int) -> None:
        self._report = report
        self._total_bytes = total_bytes
        self._finished_bytes = 0
        self._reported_bytes = 0
        self._reported_at = float("-inf")

    def at(self, done_bytes: int, path: str) -> None:
        """Set the downloaded bytes of the current file."""
        if time.monotonic() - self._reported_at >= _REPORT_EVERY_S:
            self._tell(self._finished_bytes + done_bytes, path)

    def finish(self, size_bytes: int, path: str) -> None:
        """Count a file as complete."""
        self._finished_bytes += size_bytes
        self._tell(self._finished_bytes, path)

    def retries(self, path: str) -> None:
        """Report that a download failed and is retried."""
        self._tell(self._reported_bytes, f"{path}: the download failed; retrying")

    @contextmanager
    def telling_retries(self, path: str) -> Iterator[None]:
        """Call ``retries`` for each retry within huggingface_hub, which reports its retries only as log warnings."""
        handler = _OnWarning(lambda: self.retries(path))
        library = logging.getLogger("huggingface_hub")
        library.addHandler(handler)
        try:
            yield
        finally:
            library.removeHandler(handler)

    def _tell(self, done_bytes: int, detail: str) -> None:
        self._reported_at = time.monotonic()
        # A file that restarts from zero must not decrease the progress.
        self._reported_bytes = min(max(self._reported_bytes, done_bytes), self._total_bytes)
        self._report(
            Progress(phase="download", detail=detail, done=self._reported_bytes, total=self._total_bytes, unit="bytes")
        )


class _OnWarning(logging.Handler):
    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._call = call

    def emit(self, record: logging.LogRecord) -> None:
        del record
        self._call()
