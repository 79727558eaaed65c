"""Follows a repository in object storage, which other servers change, until the server stops."""

from __future__ import annotations

import asyncio
import logging

from ingrain.errors import IngrainError
from ingrain.repository.object_storage.repository import ObjectStorageRepository
from ingrain.repository.store import Repository

_LOOK_EVERY_S = 4.0

log = logging.getLogger("ingrain.repository")


async def follow_object_storage(repository: Repository) -> None:
    """Bring the changes of other servers into the local copy every few seconds; return at once if it is a folder.

    The registry sees the changes in the local copy. A failure is logged once, and so is its end.
    """
    if not isinstance(repository, ObjectStorageRepository):
        return
    told: type[IngrainError] | None = None
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            await asyncio.to_thread(repository.sync)
        except IngrainError as error:
            if type(error) is not told:
                log.error("%s What is loaded stays, and what is in the local copy can be loaded.", error.message)
            told = type(error)
        except Exception:  # the next look may succeed, so the loop must not end
            log.exception("The object storage could not be followed")
        else:
            if told is not None:
                log.info("The object storage can be reached again")
            told = None
