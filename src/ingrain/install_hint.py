"""Say how what is missing here is installed."""

from __future__ import annotations


def install_hint(*extras: str) -> str:
    """Return the command that installs these extras of Ingrain, for the text of an error message.

    It names a source checkout: until Ingrain is published, ``pip install ingrain`` finds another package on the index.
    """
    return f"pip install '.[{','.join(extras)}]' in a checkout of Ingrain's source"
