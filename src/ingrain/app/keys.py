"""Builds the API keys of a process, and follows the keys file."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from ingrain.server.keys.named import NamedKeys
from ingrain.server.keys.windows import WindowTable
from ingrain.server.plane.auth import KeyRing, parse_keys
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings

_LOOK_EVERY_S = 1.0

log = logging.getLogger("ingrain.server")


def window_table(settings: Settings) -> WindowTable:
    """Return the memory for the rate limits of keys, for the main process and its workers."""
    return WindowTable.alone() if settings.workers == 1 else WindowTable.shared(settings.workers + 1)


def key_ring(settings: Settings, windows: WindowTable | None) -> KeyRing:
    """Return the keys of the settings; those of the keys file are added when it is read.

    Args:
        settings: Settings of the server.
        windows: Memory for the rate limits; None without a keys file.

    Raises:
        SettingsError: A key or a file of keys cannot be used.
    """
    named = None if windows is None else partial(NamedKeys, windows)
    return parse_keys(settings.api_keys, settings.api_keys_file, named)


async def watch_keys(services: ModelServices) -> None:
    """Follow the keys file until cancelled; a disk that hangs delays nothing else."""
    file, named = services.keys_file, services.keys.named
    while file is not None and named is not None:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            if await asyncio.to_thread(file.reload):
                named.replace(file.known)
                services.operations.wake()
        except Exception:  # keep following after any error
            log.exception("Reading the keys file failed")
