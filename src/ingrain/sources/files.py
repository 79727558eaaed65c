"""Chooses the files to read of a model, by source library, and refuses unsupported weight formats."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from ingrain.errors import UnsupportedModelError
from ingrain.libraries import LIBRARIES, NO_PARTS, TOKENIZER_FILES, FileRules
from ingrain.vocabulary import Library

TOKENIZER_ONLY = FileRules(side=TOKENIZER_FILES)
CONFIG_ONLY = FileRules(side=("config.json",))
CODE_ONLY = FileRules(side=("*.py",))

# Exports for other runtimes, training results and checkpoints: never read, often larger than the model.
_UNUSED_FOLDERS = ("onnx", "openvino", "coreml", "gguf", "flax", "eval", "runs", "logs", "checkpoint-*", ".*")

_OTHER_FORMS = re.compile(r"(open_clip_)?(pytorch_|tf_|flax_|rust_)?model.*\.(bin|pt|pth|ckpt|pkl|h5|msgpack|ot|npz)")


def file_rules(library: Library, *, pickled_weights: bool, with_code: bool = False) -> FileRules:
    """Return the rules for the files that a source library reads.

    Args:
        library: The source library.
        pickled_weights: False if the operator forbids pickles.
        with_code: True to include Python files.
    """
    rules = LIBRARIES[library].files
    side = (*rules.side, "*.py") if with_code else rules.side
    return replace(rules, side=side, pickles_allowed=pickled_weights)


def is_weights(path: str, rules: FileRules) -> bool:
    """Return True for a file of weights, safetensors or pickle."""
    name = PurePosixPath(path).name
    return rules.weights is not None and any(form.fullmatch(name) for form in (rules.weights, rules.pickles))


def choose_files(paths: Iterable[str], rules: FileRules, *, model: str) -> list[str]:
    """Return the files to read, weights last.

    Args:
        paths: All files of the model: relative paths with ``/``.
        rules: Rules for the files to read.
        model: The model's name, for error messages.

    Raises:
        UnsupportedModelError: The model, or a part of it, has weights only in an unsupported format.
    """
    used = used_files(paths)
    weights: list[str] = []
    if rules.weights is not None:
        weights = [path for path in used if rules.weights.fullmatch(PurePosixPath(path).name)]
        weights += _pickled(used, weights, rules, model)
    side = [path for path in used if any(fnmatchcase(PurePosixPath(path).name, pattern) for pattern in rules.side)]
    return sorted(side) + sorted(weights)


def used_files(paths: Iterable[str]) -> list[str]:
    """Return the files that do not lie in a folder for other runtimes or for training."""

    def is_unused(path: str) -> bool:
        folders = PurePosixPath(path).parts[:-1]
        return any(fnmatchcase(folder, pattern) for folder in folders for pattern in _UNUSED_FOLDERS)

    return [path for path in paths if not is_unused(path)]


def _pickled(used: list[str], weights: list[str], rules: FileRules, model: str) -> list[str]:
    """Return the pickles of the folders without safetensors; raise if a folder has only unsupported formats."""
    in_folder = defaultdict[str, list[str]](list)
    for path in used:
        in_folder[str(PurePosixPath(path).parent)].append(PurePosixPath(path).name)
    with_weights = {str(PurePosixPath(path).parent) for path in weights}
    chosen: list[str] = []
    for folder, names in sorted(in_folder.items()):
        others = sorted(name for name in names if _OTHER_FORMS.fullmatch(name) or rules.pickles.fullmatch(name))
        if folder in with_weights or not others or not _is_part(folder, names, rules):
            continue
        pickles = [name for name in others if rules.pickles.fullmatch(name)]
        # If a folder has both, the libraries load the whole file and not the shards.
        pickles = [name for name in pickles if "-of-" not in name] or pickles
        if not pickles or not rules.pickles_allowed:
            name = (pickles or others)[0]
            raise _unread(model, name if folder == "." else f"{folder}/{name}", is_pickle=bool(pickles))
        chosen += [str(PurePosixPath(folder) / name) for name in pickles]
    if weights or chosen:
        return chosen
    if any(name == "adapter_model.safetensors" for name in in_folder["."]):
        raise UnsupportedModelError(
            f"{model!r} is an adapter to another model, not a model; merge the two (merge_and_unload in peft), save "
            "the result and put its folder below the directory of local models (INGRAIN_LOCAL_MODELS_DIR).",
            param="name",
        )
    if found := sorted(path for path in used if _OTHER_FORMS.fullmatch(PurePosixPath(path).name)):
        raise _unread(model, found[0], is_pickle=False)
    raise UnsupportedModelError(
        f"{model!r} has no weights that this version reads (model.safetensors or pytorch_model.bin, whole or in "
        "shards).",
        param="name",
    )


def _is_part(folder: str, names: list[str], rules: FileRules) -> bool:
    if folder != ".":
        return bool(rules.part_folder.fullmatch(folder))
    # Weights in the root folder belong to a network only if its config.json lies beside them. OpenCLIP has none.
    return "config.json" in names or rules.part_folder is NO_PARTS


def _unread(model: str, where: str, *, is_pickle: bool) -> UnsupportedModelError:
    reason = (
        "a pickle, and INGRAIN_PICKLED_WEIGHTS is 'refuse' here"
        if is_pickle
        else "which is not supported; safetensors are, and PyTorch's own file if it contains only tensors"
    )
    return UnsupportedModelError(
        f"{model!r} has its weights only as {where!r}, {reason}. Name a revision that has safetensors (the hub's "
        "conversions are 'refs/pr/N'), or save the model again with save_pretrained and put its folder below the "
        "directory of local models (INGRAIN_LOCAL_MODELS_DIR).",
        param="name",
    )
