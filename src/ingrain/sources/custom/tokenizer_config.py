"""Makes the ``tokenizer_config.json`` of a custom model safe to read."""

from __future__ import annotations

from pathlib import Path

from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import InvalidRequestError
from ingrain.sources.custom.json_file import read_object, write_json


def clean_tokenizer_config(request: DownloadCustomModelRequest, folder: Path) -> None:
    """Remove paths, which are those of the machine that saved the tokenizer.

    Raises:
        InvalidRequestError: The tokenizer is Python code.
    """
    if request.tokenizer_config_json_url is None:
        return
    path = folder / "tokenizer_config.json"
    config = read_object(path, "tokenizerConfigJsonUrl")
    if "auto_map" in config:
        raise InvalidRequestError(
            "The file at tokenizerConfigJsonUrl names a tokenizer that is code (auto_map); code from URLs is never "
            "run.",
            param="tokenizerConfigJsonUrl",
        )
    write_json(path, {name: value for name, value in config.items() if not name.endswith("_file")})
