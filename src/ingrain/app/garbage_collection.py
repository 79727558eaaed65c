"""Makes garbage collections rare."""

from __future__ import annotations

import gc

_THRESHOLD = 5_000


def collect_seldom() -> None:
    """Collect rarely, and never what exists now; to be called when everything is imported.

    A request leaves nothing that only the collector can free (a test holds that), but hundreds of requests in progress
    are many young objects. With Python's own threshold of 700 it scans them several times and takes a twentieth of the
    front end's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD, 10, 10)
