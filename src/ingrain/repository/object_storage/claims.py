"""Locks between servers on one object storage, made of objects that only one server can create.

A claim is the object with the highest number in its folder. It is free if it is empty; whoever creates the next number
holds it. The holder writes it again every few seconds. One that stays as it is for a minute belonged to a server that
is gone: another one may then create the next number. Each waiter measures that minute by its own clock, so the clocks
of servers need not agree.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import PurePosixPath

from ingrain.errors import StorageUnavailableError
from ingrain.repository.object_storage.store import ObjectInfo, ObjectStore

BEAT_S = 15.0
SILENT_S = 60.0

Release = Callable[[], None]
"""Gives a claim back; blocks on the network, and never fails."""

log = logging.getLogger("ingrain.repository")


class Claims:
    """The claims of one server.

    Args:
        store: The object storage.
        beat_s: Seconds after which a holder writes its claim again.
        silent_s: Seconds after which a claim that was not written again is free.
    """

    def __init__(self, store: ObjectStore, *, beat_s: float = BEAT_S, silent_s: float = SILENT_S) -> None:
        self._store = store
        self._beat_s = beat_s
        self._silent_s = silent_s
        # The claims of others: as they were last seen, and since when.
        self._seen: dict[str, tuple[ObjectInfo, float]] = {}

    def claim(self, name: str) -> Release | None:
        """Take a claim; return None if another holds it.

        Raises:
            StorageUnavailableError: The storage cannot be reached.
        """
        folder = f"claims/{name}"
        found = self._store.list(folder)
        last = max(found, key=_number, default=None)
        if last is not None and found[last].size_bytes and not self._is_silent(last, found[last]):
            return None
        own = f"{folder}/{_number(last) + 1 if last is not None else 1:012d}"
        holder = uuid.uuid4().hex
        content = f"{holder} 0".encode()
        # A lost answer makes the storage's package try again, and find the object of the first try.
        if not self._store.create(own, content) and self._store.read(own) != content:
            return None
        found = self._store.list(folder)
        if max(found, key=_number, default=None) != own:
            # The listing before was of a moment ago, and a higher number existed already.
            self._store.remove([own])
            return None
        self._store.remove(path for path in found if path != own)
        return _Held(self._store, own, holder, self._beat_s).release

    def wait(self, name: str, timeout_s: float, *, every_s: float = 0.2) -> Release | None:
        """Wait for a claim that is never held for long; return None if it did not become free in time."""
        ends_at = time.monotonic() + timeout_s
        while (release := self.claim(name)) is None and time.monotonic() < ends_at:
            time.sleep(every_s)
        return release

    def _is_silent(self, path: str, info: ObjectInfo) -> bool:
        seen, since = self._seen.get(path, (None, 0.0))
        if seen != info:
            self._seen[path] = info, time.monotonic()
            return False
        return time.monotonic() - since > self._silent_s


class _Held:
    def __init__(self, store: ObjectStore, path: str, holder: str, beat_s: float) -> None:
        self._store, self._path, self._holder, self._beat_s = store, path, holder, beat_s
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="claim", daemon=True)
        self._beating.start()

    def release(self) -> None:
        self._ended.set()
        self._beating.join()
        self._write(b"")

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(self._beat_s):
            beats += 1
            self._write(f"{self._holder} {beats}".encode())

    def _write(self, content: bytes) -> None:
        try:
            self._store.write(self._path, content)
        except StorageUnavailableError:  # the next beat may arrive; otherwise the claim becomes free by itself
            log.warning("A claim in the object storage could not be written")


def _number(path: str) -> int:
    name = PurePosixPath(path).name
    return int(name) if name.isascii() and name.isdecimal() else 0
