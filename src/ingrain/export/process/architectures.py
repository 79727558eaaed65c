"""A process that answers with the configuration of one of a library's own architectures, as one line of JSON."""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from ingrain.errors import IngrainError, InvalidRequestError
from ingrain.export.process.job import Failed


def main() -> int:
    """Answer for the library and the name on the command line: the configuration, or ``{"failed": …}``."""
    library, name = sys.argv[1:]
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        answer: object = {"config": config_of(library, name)}
    except IngrainError as error:
        answer = {"failed": Failed.of(error)}
    with stream:
        stream.write(msgspec.json.encode(answer) + b"\n")
    return 0


def config_of(library: str, name: str) -> dict[str, Any]:
    """Return what the configuration file of an architecture would say, weights apart.

    Args:
        library: A library with architectures of its own: ``open_clip`` or ``timm``.
        name: What the library calls the architecture; for OpenCLIP a slash is taken for a dash, as there.

    Raises:
        InvalidRequestError: There is no such architecture.
    """
    from ingrain.export.families.table import family_of
    from ingrain.export.process import torchvision_shim

    torchvision_shim.install()
    ask = family_of(library).architecture_config
    config = None if ask is None else ask(name)
    if config is None:
        raise InvalidRequestError(
            f"{name[:100]!r} is no architecture of {library}; name one, or give 'configJsonUrl'.", param="configJsonUrl"
        )
    return config


if __name__ == "__main__":
    sys.exit(main())
