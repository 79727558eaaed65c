"""A process that is asked for the configuration of a library's own architecture, and answers with one line of JSON."""

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
        answer = {"failed": Failed(code=error.code, message=error.message, param=error.param)}
    with stream:
        stream.write(msgspec.json.encode(answer) + b"\n")
    return 0


def config_of(library: str, name: str) -> dict[str, Any]:
    """Return what the configuration file of an architecture would say, weights apart.

    Args:
        library: ``open_clip`` or ``timm``.
        name: What the library calls the architecture; for OpenCLIP a slash is taken for a dash, as there.

    Raises:
        InvalidRequestError: There is no such architecture.
    """
    from ingrain.export.process import torchvision_shim

    torchvision_shim.install()
    config = _open_clip(name) if library == "open_clip" else _timm(name)
    if config is None:
        raise InvalidRequestError(
            f"{name[:100]!r} is no architecture of {library}; name one, or give 'configJsonUrl'.", param="configJsonUrl"
        )
    return config


def _open_clip(name: str) -> dict[str, Any] | None:
    import open_clip

    architecture = name.replace("/", "-")
    model = open_clip.get_model_config(architecture) if architecture in open_clip.list_models() else None
    return None if model is None else {"model_cfg": model, "preprocess_cfg": {}}


def _timm(name: str) -> dict[str, Any] | None:
    import timm
    from timm.models import filter_pretrained_cfg

    try:
        known = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # an architecture with a tag that it does not have
        known = None
    if known is None:
        return None
    trained = filter_pretrained_cfg(known.to_dict(), remove_source=True, remove_null=True)
    # The weights are timm's own format, whatever the published ones of that architecture are in.
    for key in ("architecture", "custom_load", "label_offset"):
        trained.pop(key, None)
    architecture = name.partition(".")[0]
    return {"architecture": architecture, "num_classes": trained.get("num_classes"), "pretrained_cfg": trained}


if __name__ == "__main__":
    sys.exit(main())
