"""The keys file of a running server, read again when it changes."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

from ingrain.errors import SettingsError
from ingrain.server.keys.entry import KeyEntry
from ingrain.server.keys.file import is_read_by_others, read_keys, version_of
from ingrain.server.keys.named import KnownKey
from ingrain.server.keys.windows import WINDOWS, WindowTable

_ROWS = WINDOWS // 2  # a key has a window of requests and one of tokens

log = logging.getLogger("ingrain.server")


class WatchedKeys:
    """The keys of a file with their numbers; the last good ones while the file cannot be used.

    Attributes:
        known: The keys; another tuple after each change.

    Args:
        path: The file.
        windows: Table of the windows of all keys.

    Raises:
        SettingsError: The file cannot be used.
    """

    def __init__(self, path: Path, windows: WindowTable) -> None:
        self._path = path
        self._windows = windows
        self._numbers = itertools.count()
        self._version = version_of(path)
        self.known: tuple[KnownKey, ...] = ()
        self._take(read_keys(path))

    def reload(self) -> bool:
        """Read the file again if it has changed; return whether the keys are replaced."""
        version = version_of(self._path)
        if version == self._version:
            return False
        self._version = version
        try:
            self._take(read_keys(self._path))
        except SettingsError as error:
            log.error("The keys stay as they are: %s", error.message)
            return False
        log.info("The keys file has changed; it has %d keys", len(self.known))
        return True

    def _take(self, entries: tuple[KeyEntry, ...]) -> None:
        before = {_limits_of(known.entry): known.number for known in self.known}
        numbers = [before.get(_limits_of(entry)) for entry in entries]
        rows = {number % _ROWS for number in numbers if number is not None}
        if len(self.known) + len(entries) <= _ROWS:  # other processes may for a moment count what removed keys take
            rows |= {known.number % _ROWS for known in self.known}
        self.known = tuple(
            KnownKey(entry, self._new_number(rows) if number is None else number)
            for entry, number in zip(entries, numbers, strict=True)
        )
        if is_read_by_others(self._path):
            log.warning("Every user of this machine can read the keys file; change its mode to 0600 or 0640")

    def _new_number(self, rows: set[int]) -> int:
        """Return a number that no key has had, with windows that are not in use."""
        number = next(number for number in self._numbers if number % _ROWS not in rows)
        rows.add(number % _ROWS)
        if number >= _ROWS:
            self._windows.clear(2 * number)
            self._windows.clear(2 * number + 1)
        return number


def _limits_of(entry: KeyEntry) -> tuple[object, ...]:
    return entry.sha256, entry.requests_per_minute, entry.tokens_per_minute
