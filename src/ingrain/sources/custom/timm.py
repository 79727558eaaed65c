"""Completes the folder of a custom timm model: writes the head and preprocessing into the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import InvalidRequestError
from ingrain.libraries import LIBRARIES
from ingrain.sources.custom.json_file import read_object, write_json
from ingrain.sources.custom.layout import Layout, SideFile

_CONFIG = LIBRARIES["timm"].config_file


def complete(request: DownloadCustomModelRequest, folder: Path, architecture: dict[str, Any] | None) -> None:
    """Write the request's head and preprocessing into the configuration.

    Raises:
        InvalidRequestError: The configuration is not one of timm.
    """
    config = read_object(folder / _CONFIG, "configJsonUrl") if architecture is None else dict(architecture)
    trained = config.get("pretrained_cfg", config)  # older files have all fields at the top level
    arguments = config.get("model_args") or {}
    if not (isinstance(config.get("architecture"), str) and isinstance(trained, dict) and isinstance(arguments, dict)):
        raise InvalidRequestError("The file at configJsonUrl is not a config.json of timm.", param="configJsonUrl")
    given = {"mean": request.mean, "std": request.std, "interpolation": request.interpolation}
    trained |= {name: value for name, value in given.items() if value is not None}
    number = request.num_classes
    if number is not None:
        if number != config.get("num_classes", trained.get("num_classes")):
            # The label names belong to the classes of another head.
            for level in (config, trained):
                for name in ("label_names", "label_descriptions", "labels"):
                    level.pop(name, None)
        config["num_classes"] = trained["num_classes"] = number
        if "num_classes" in arguments:
            arguments["num_classes"] = number
    write_json(folder / _CONFIG, config)


LAYOUT = Layout(
    side_files={"config_json_url": SideFile(path=_CONFIG)},
    values=frozenset({"num_classes", "mean", "std", "interpolation"}),
    complete=complete,
)
