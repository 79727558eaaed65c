"""Ids of answers, and their object ``meta``."""

from __future__ import annotations

import itertools
import uuid

from ingrain.server.plane.answers import Counted

# A UUID of which the process counts the last part; a random one for each answer would take seven times as long.
_PROCESS = str(uuid.uuid4())[:24]
_numbers = itertools.count(1)


def new_id() -> str:
    """Return an id for an answer."""
    return f"{_PROCESS}{next(_numbers):012x}"


def meta_of(version: str, units: dict[str, int], texts: Counted | None) -> dict[str, object]:
    """Return ``meta``.

    Args:
        version: Version of the API.
        units: What Cohere would bill.
        texts: The texts that were computed; None if there are none.
    """
    meta: dict[str, object] = {"api_version": {"version": version}, "billed_units": units}
    if texts is not None and (cut := texts.truncated):
        meta["warnings"] = [f"{cut} of {len(texts.items)} texts were too long and were cut."]
    return meta
