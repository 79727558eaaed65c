"""A process that prints the configuration of one of a library's architectures as one line of JSON."""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from ingrain.errors import IngrainError, InvalidRequestError
from ingrain.export.process.job import Failed


def main() -> int:
    """Print the configuration, or ``{"failed": …}``, for the library and the name on the command line."""
    library, name = sys.argv[1:]
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep the output of libraries out of the answer
    try:
        answer: object = {"config": config_of(library, name)}
    except IngrainError as error:
        answer = {"failed": Failed.of(error)}
    with stream:
        stream.write(msgspec.json.encode(answer) + b"\n")
    return 0


def config_of(library: str, name: str) -> dict[str, Any]:
    """Return the contents of an architecture's configuration file.

    Args:
        library: A library with named architectures: ``open_clip`` or ``timm``.
        name: The library's name of the architecture; as in OpenCLIP, a slash means a dash there.

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
            f"{library} has no architecture {name[:100]!r}; name another one, or give 'configJsonUrl'.",
            param="configJsonUrl",
        )
    return config


if __name__ == "__main__":
    sys.exit(main())
