"""Writes answers with an id and the object ``meta``."""

from __future__ import annotations

import itertools
import uuid

from ingrain.server.http.message import Response
from ingrain.server.plane.answers import Counted, array_answer, mark_truncated

# A UUID of which the process counts the last part; a random one for each answer would take seven times as long.
_PROCESS = str(uuid.uuid4())[:24]
_numbers = itertools.count(1)


def new_id() -> str:
    """Return an id for an answer."""
    return f"{_PROCESS}{next(_numbers):012x}"


def answer_with_meta(answer: dict[str, object], version: str, units: dict[str, int], texts: Counted | None) -> Response:
    """Encode an answer with ``meta``, and tell in it and in ``X-Truncated-Texts`` how many texts were cut.

    Args:
        answer: The answer without ``meta``; may hold numpy arrays.
        version: Version of the API.
        units: What Cohere would bill.
        texts: The texts that were computed; None if there are none.
    """
    meta: dict[str, object] = {"api_version": {"version": version}, "billed_units": units}
    answer["meta"] = meta
    cut = texts.truncated if texts is not None else 0
    if texts is None or not cut:
        return array_answer(answer)
    meta["warnings"] = [f"{cut} of {len(texts.items)} texts were too long and were cut."]
    return mark_truncated(array_answer(answer), texts)
