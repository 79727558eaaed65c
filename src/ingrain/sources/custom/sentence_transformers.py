"""Completes the folder of a custom sentence-transformers model: writes its modules and pooling."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import InvalidRequestError
from ingrain.sources.custom.json_file import read_list, read_object, write_json
from ingrain.sources.custom.layout import TOKENIZER_FILES, Layout, SideFile
from ingrain.sources.custom.tokenizer_config import clean_tokenizer_config

_CONFIG, _POOLING, _MODULES = "config.json", "1_Pooling/config.json", "modules.json"
_OPTIONS = "sentence_bert_config.json"
# Option values that cannot be a path: `torch.float32`, `last_hidden_state`, `feature-extraction`.
_WORD = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PATH_OPTIONS = ("_file", "_dir", "folder", "path")
# Fields with the embedding width in configurations of transformers.
_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")


def complete(request: DownloadCustomModelRequest, folder: Path, architecture: dict[str, Any] | None) -> None:
    """Check the configuration; write the modules, and the pooling if none was given.

    Raises:
        InvalidRequestError: A file is missing or not supported.
    """
    del architecture  # sentence-transformers has no list of architectures
    config = read_object(folder / _CONFIG, "configJsonUrl")
    if not isinstance(config.get("model_type"), str):
        raise InvalidRequestError(
            "The file at configJsonUrl is not a configuration of transformers.", param="configJsonUrl"
        )
    if request.tokenizer_json_url is None and request.vocab_txt_url is None:
        raise InvalidRequestError(
            "A text model needs its tokenizer: give 'tokenizerJsonUrl', or 'vocabTxtUrl'.", param="tokenizerJsonUrl"
        )
    clean_tokenizer_config(request, folder)
    if request.sentence_bert_config_json_url is not None:
        _refuse_paths(read_object(folder / _OPTIONS, "sentenceBertConfigJsonUrl"))
    normalizes = request.modules_json_url is not None and _normalizes(request, folder)
    if request.pooling_config_json_url is None:
        width = next((config[name] for name in _WIDTHS if isinstance(config.get(name), int)), None)
        if width is None:
            raise InvalidRequestError(
                "The configuration does not give the embedding width; give 'poolingConfigJsonUrl'.",
                param="poolingConfigJsonUrl",
            )
        # The default of sentence-transformers for a folder without a pooling configuration.
        write_json(folder / _POOLING, {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True})
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), *([("Normalize", "2_Normalize")] if normalizes else [])]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(kinds)
    ]
    write_json(folder / _MODULES, modules)


def _refuse_paths(options: object) -> None:
    """Refuse options that could be a path: sentence-transformers passes options on to functions that load files."""
    if isinstance(options, dict):
        for name, value in options.items():
            if value and name.endswith(_PATH_OPTIONS):
                raise _may_be_path(name)
            _refuse_paths(value)
    elif isinstance(options, list):
        for value in options:
            _refuse_paths(value)
    elif isinstance(options, str) and options and not _WORD.fullmatch(options):
        raise _may_be_path(options)


def _may_be_path(option: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The file at sentenceBertConfigJsonUrl has an option that could name a file or a folder ({option[:100]!r}).",
        param="sentenceBertConfigJsonUrl",
    )


def _normalizes(request: DownloadCustomModelRequest, folder: Path) -> bool:
    """Check the user's modules; return True if the last one is Normalize.

    ``complete`` writes a new list, so that the library never gets class names or folders from the user's file.
    """
    param = "modulesJsonUrl"
    kinds = []
    for entry in read_list(folder / _MODULES, param):
        dotted = str(entry.get("type"))[:200]
        package, _, kind = dotted.rpartition(".")
        if not package.startswith("sentence_transformers.") or not set(package.split(".")) & {"models", "modules"}:
            raise InvalidRequestError(
                f"modulesJsonUrl names the module {dotted!r}, which is not one of sentence-transformers' own.",
                param=param,
            )
        kinds.append(kind)
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InvalidRequestError(
            f"modulesJsonUrl lists {', '.join(kinds[:9]) or 'no modules'}; a model from URLs is a Transformer, a "
            "Pooling and perhaps a Normalize. Put any other below the directory of local models "
            "(INGRAIN_LOCAL_MODELS_DIR).",
            param=param,
        )
    if request.pooling_config_json_url is None:
        raise InvalidRequestError(
            "modulesJsonUrl names a Pooling module; give 'poolingConfigJsonUrl' as well.", param="poolingConfigJsonUrl"
        )
    return kinds[-1] == "Normalize"


LAYOUT = Layout(
    side_files={
        "config_json_url": SideFile(path=_CONFIG),
        **TOKENIZER_FILES,
        "pooling_config_json_url": SideFile(path=_POOLING),
        "sentence_bert_config_json_url": SideFile(path=_OPTIONS),
        # `complete` checks this file and replaces it.
        "modules_json_url": SideFile(path=_MODULES, check=lambda *_: None),
    },
    complete=complete,
)
