"""Makes garbage collection rare."""

from __future__ import annotations

import gc

_THRESHOLD = 5_000


def collect_seldom() -> None:
    """Raise the collector's threshold and exclude all existing objects; call it after all imports.

    A request leaves no cyclic garbage (a test checks that), but hundreds of concurrent requests are many young objects.
    With Python's default threshold of 700 the collector scans them repeatedly, which takes 5 % of the front end's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD, 10, 10)
