"""The object ``meta`` of an answer."""

from __future__ import annotations

from ingrain.server.plane.answers import Counted


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
