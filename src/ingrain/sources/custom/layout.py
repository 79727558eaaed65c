"""Describes and checks which fields and files make up a custom model."""

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
        path: Where it goes, relative to the model's folder.
        check: Raises for contents that cannot be right; gets the file and the name of the field.
        max_bytes: Most that is fetched.
    """

    path: str
    check: Callable[[Path, str], None] = check_object
    max_bytes: int = CONFIG_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a library's custom models are made of.

    Attributes:
        side_files: By the field that has their URL.
        values: Further fields that mean something.
        complete: Makes the fetched files the folder that the library wants; gets the request, the folder, and the
            architecture's own configuration where the name stands for it.
    """

    side_files: dict[str, SideFile]
    complete: Complete
    values: frozenset[str] = frozenset()

    def check(self, request: DownloadCustomModelRequest) -> None:
        """Refuse fields that mean nothing for the library, and values that cannot be right.

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
    """Refuse names that mean something else (``hf-hub:…``), or that no list of models could hold.

    Raises:
        InvalidRequestError: The name is not words of letters, digits, ``_``, ``-`` and ``.``, joined by ``/``.
    """
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"A custom model cannot be called {name[:100]!r}: use letters, digits, '-', '_' and '.', in one part or in "
            f"several joined by '/', at most {_LONGEST_NAME} characters.",
            param="name",
        )
