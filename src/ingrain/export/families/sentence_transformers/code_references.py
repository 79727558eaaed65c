"""Finds the custom code that a model's JSON files name: classes in an ``auto_map``, modules and activations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain.export.families.sentence_transformers.checkpoint import PYLATE_CLASSES, TRANSFORMER_CONFIGS, modules_of
from ingrain.export.model_files import read_json, unsupported

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
# Files in which transformers reads an `auto_map`, at the top level or nested.
_NAMING = (
    CONFIG,
    TOKENIZER_CONFIG,
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    *TRANSFORMER_CONFIGS,  # their `config_kwargs` override the configuration
)
# `owner/name--module.Class`, or `module.Class` for code in the model's own folder.
_REFERENCE = re.compile(r"(?:(?P<repository>[\w.-]+(?:/[\w.-]+)?)--)?(?P<module>\w+(?:/\w+)*)\.(?P<name>\w+)")


@dataclass(frozen=True, slots=True)
class Reference:
    """A class that a model names, in another repository or, if ``repository`` is None, in the model's own folder."""

    repository: str | None
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def configuration_files(folder: Path) -> Iterator[Path]:
    """Yield the JSON files of the model and its modules that may name code."""
    for part in {folder: None} | {part: None for _, part in modules_of(folder)}:
        yield from (part / name for name in _NAMING if (part / name).is_file())


def auto_maps(value: object) -> Iterator[object]:
    """Yield every ``auto_map`` of a configuration, including nested ones."""
    for key, entry in value.items() if isinstance(value, dict) else ():
        if key == "auto_map":
            yield entry
        else:
            yield from auto_maps(entry)


def references_in(value: object, only: str | None = None) -> list[Reference]:
    """Return the classes that an ``auto_map`` names; its values are names, or lists of names and nulls."""
    if isinstance(value, dict):
        return [found for key, entry in value.items() if only in (None, key) for found in references_in(entry)]
    if isinstance(value, list | tuple):
        return [found for entry in value for found in references_in(entry)]
    if value is None:
        return []
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise unsupported(f"The model's auto_map has the entry {value!r}, which does not name a class in a file.")
    return [Reference(match["repository"], match["module"], match["name"])]


def module_code(folder: Path) -> Iterator[Reference]:
    """Yield the model's modules and activations that are custom code."""
    for dotted, part in modules_of(folder):
        if not dotted.startswith("sentence_transformers.") and dotted not in PYLATE_CLASSES:
            yield _dotted(dotted)
        if dotted.endswith(".Dense"):
            activation = read_json(part / CONFIG).get("activation_function", "torch.nn.")
            if not str(activation).startswith("torch.nn."):
                yield _dotted(str(activation))


def _dotted(name: str) -> Reference:
    match = _REFERENCE.fullmatch(name)
    if match is not None:
        return Reference(match["repository"], match["module"], match["name"])
    module, _, last = name.rpartition(".")
    return Reference(None, module, last)


def with_local_code(config: dict[str, Any], own: str) -> dict[str, Any]:
    """Return the configuration with ``localized`` applied to every ``auto_map``."""
    return {
        key: localized(entry, own)
        if key == "auto_map"
        else (with_local_code(entry, own) if isinstance(entry, dict) else entry)
        for key, entry in config.items()
    }


def localized(value: Any, own: str) -> Any:
    """Return an ``auto_map`` with all its classes in the model's folder; ``own`` is the model's repository."""
    if isinstance(value, dict):
        return {key: localized(entry, own) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [localized(entry, own) for entry in value]
    if value is None or "--" not in value:
        return value
    repository, _, name = value.partition("--")
    return name if repository == own else f"{code_folder(repository)}/{name}"


def code_folder(repository: str) -> str:
    """Return the subfolder for a repository's code; a folder of its own makes relative imports resolve within it."""
    return "code_" + re.sub(r"\W", "_", repository)
