"""Completes the folder of a custom timm model: its head and preprocessing go into the configuration."""

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
    """Put the request's head and preprocessing into the configuration.

    Raises:
        InvalidRequestError: The configuration is none of timm's.
    """
    config = read_object(folder / _CONFIG, "configJsonUrl") if architecture is None else dict(architecture)
    trained = config.get("pretrained_cfg", config)  # older files have it all on one level
    arguments = config.get("model_args") or {}
    if not (isinstance(config.get("architecture"), str) and isinstance(trained, dict) and isinstance(arguments, dict)):
        raise InvalidRequestError("configJsonUrl leads to no config.json of timm's.", param="configJsonUrl")
    given = {"mean": request.mean, "std": request.std, "interpolation": request.interpolation}
    trained |= {name: value for name, value in given.items() if value is not None}
    number = request.num_classes
    if number is not None:
        if number != config.get("num_classes", trained.get("num_classes")):
            # They are the names of another head's classes.
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
