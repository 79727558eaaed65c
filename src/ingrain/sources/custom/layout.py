"""Defines and checks the fields and files of a custom model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import InvalidRequestError
from ingrain.libraries import LIBRARIES
from ingrain.sources.custom.json_file import check_object, check_text

CONFIG_BYTES = 5 * 1024 * 1024
TOKENIZER_BYTES = 50 * 1024 * 1024

_LONGEST_NAME = 200
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_GENERAL = frozenset({"name", "library", "safetensors_url", "config_json_url"})

Complete = Callable[[DownloadCustomModelRequest, Path, dict[str, Any] | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFile:
    """A small file of a model.

    Attributes:
        path: Path relative to the model's folder.
        check: Called with the file and the field's name; raises if the contents are invalid.
        max_bytes: Size limit.
    """

    path: str
    check: Callable[[Path, str], None] = check_object
    max_bytes: int = CONFIG_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The fields and files of a library's custom models.

    Attributes:
        side_files: Side files by the request field that has their URL.
        values: Further fields that the library uses.
        complete: Completes the folder of fetched files for the library; gets the request, the folder, and the
            architecture's configuration if the model's name is an architecture.
    """

    side_files: dict[str, SideFile]
    complete: Complete
    values: frozenset[str] = frozenset()

    def check(self, request: DownloadCustomModelRequest) -> None:
        """Refuse fields that the library does not use, and invalid values.

        Raises:
            InvalidRequestError: The message and ``param`` name the field.
        """
        known = _GENERAL | self.side_files.keys() | self.values
        for field in msgspec.structs.fields(request):
            if field.name not in known and getattr(request, field.name) is not None:
                raise InvalidRequestError(
                    f"{field.encode_name!r} means nothing for {request.library} models; leave it out.",
                    param=field.encode_name,
                )
        if request.config_json_url is None and not LIBRARIES[request.library].has_registry:
            raise InvalidRequestError(f"{request.library} models need 'configJsonUrl'.", param="configJsonUrl")
        for name, numbers in (("mean", request.mean), ("std", request.std)):
            if numbers is not None and not all(map(math.isfinite, numbers)):
                raise InvalidRequestError(f"{name} must be three finite numbers.", param=name)


TOKENIZER_FILES = {
    "tokenizer_json_url": SideFile(
        path="tokenizer.json", check=partial(check_object, member="model"), max_bytes=TOKENIZER_BYTES
    ),
    "tokenizer_config_json_url": SideFile(path="tokenizer_config.json"),
    "vocab_txt_url": SideFile(path="vocab.txt", check=check_text, max_bytes=TOKENIZER_BYTES),
    "special_tokens_map_json_url": SideFile(path="special_tokens_map.json"),
}


def check_name(name: str) -> None:
    """Refuse names with a prefix (``hf-hub:…``) or with characters that lists of models cannot contain.

    Raises:
        InvalidRequestError: The name is not parts of letters, digits, ``_``, ``-`` and ``.``, joined by ``/``.
    """
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"A custom model cannot be called {name[:100]!r}: use letters, digits, '-', '_' and '.', in one part or in "
            f"several joined by '/', at most {_LONGEST_NAME} characters.",
            param="name",
        )
