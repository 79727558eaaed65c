"""Say how what is missing here is installed."""

from __future__ import annotations


def install_hint(*extras: str) -> str:
    """Return the command that installs these extras of Ingrain, for the text of an error message.

    It names a source checkout: until Ingrain is published, ``pip install ingrain`` finds another package on the index.
    What brings PyTorch is installed in the pinned versions: others come with gigabytes of CUDA libraries.
    """
    pins = "-c requirements/constraints.txt " if "export" in extras else ""
    return f"pip install {pins}'.[{','.join(extras)}]' in a checkout of Ingrain's source"
