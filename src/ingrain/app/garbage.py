"""How often the garbage collector looks through the server's objects."""

from __future__ import annotations

import gc

_THRESHOLD = 5_000


def collect_seldom() -> None:
    """Have it look seldom, and never at what is there now; to be called when all is imported.

    A request leaves nothing that only the collector can free (a test holds that), but hundreds of requests in progress
    are many young objects. With Python's own threshold of 700 it looks at them several times and takes a twentieth of
    the front end's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD, 10, 10)
