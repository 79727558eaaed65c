"""The types that settings have, and the metadata of a setting."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]


def setting(env: str, description: str, *, secret: bool = False, switch: str = "", shown: tuple[str, ...] = ()) -> Meta:
    """Return the metadata of a setting.

    Args:
        env: Name of the environment variable.
        description: Description for help and reference pages.
        secret: Whether to hide the value in messages.
        switch: For a list that also accepts ``true`` and ``false``: the list's only entry for ``true``.
        shown: Choices to list in help and reference pages, if extensions may add others.
    """
    return Meta(description=description, extra={"env": env, "secret": secret, "switch": switch, "shown": shown})
