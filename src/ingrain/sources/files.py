"""Chooses which of a model's files are read, by source library, and refuses weights in any other form."""

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

# Exports for other runtimes, results and checkpoints of training: never read, often larger than the model.
_UNUSED_FOLDERS = ("onnx", "openvino", "coreml", "gguf", "flax", "eval", "runs", "logs", "checkpoint-*", ".*")

_OTHER_FORMS = re.compile(r"(open_clip_)?(pytorch_|tf_|flax_|rust_)?model.*\.(bin|pt|pth|ckpt|pkl|h5|msgpack|ot|npz)")


def file_rules(library: Library, *, pickled_weights: bool, with_code: bool = False) -> FileRules:
    """Return what a source library reads of a model.

    Args:
        library: The source library.
        pickled_weights: False where the operator forbids pickles.
        with_code: True to include Python files.
    """
    rules = LIBRARIES[library].files
    side = (*rules.side, "*.py") if with_code else rules.side
    return replace(rules, side=side, pickles_allowed=pickled_weights)


def is_weights(path: str, rules: FileRules) -> bool:
    """Return True for weights, in either form; ``choose_files`` puts them behind all other files."""
    name = PurePosixPath(path).name
    return rules.weights is not None and any(form.fullmatch(name) for form in (rules.weights, rules.pickles))


def choose_files(paths: Iterable[str], rules: FileRules, *, model: str) -> list[str]:
    """Return the files to read, weights last.

    Args:
        paths: Every file of the model, relative, with ``/``.
        rules: What is read.
        model: The model's name, for the message of an error.

    Raises:
        UnsupportedModelError: The weights, or those of a part of the model, are there in no form that is read.
    """
    used = used_files(paths)
    weights: list[str] = []
    if rules.weights is not None:
        weights = [path for path in used if rules.weights.fullmatch(PurePosixPath(path).name)]
        weights += _pickled(used, weights, rules, model)
    side = [path for path in used if any(fnmatchcase(PurePosixPath(path).name, pattern) for pattern in rules.side)]
    return sorted(side) + sorted(weights)


def used_files(paths: Iterable[str]) -> list[str]:
    """Return the files of a model that no folder keeps for another purpose."""
    return [path for path in paths if not _is_unused(path)]


def _is_unused(path: str) -> bool:
    folders = PurePosixPath(path).parts[:-1]
    return any(fnmatchcase(folder, pattern) for folder in folders for pattern in _UNUSED_FOLDERS)


def _pickled(used: list[str], weights: list[str], rules: FileRules, model: str) -> list[str]:
    """Return the pickles of the folders that have no safetensors; raise where a folder has only another form."""
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
        # Where both lie there, the libraries take the whole file, not its shards.
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
            "the result and put its folder below the directory of local models.",
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
    # Weights in the root belong to a network only where its configuration lies beside them; OpenCLIP's may lie nowhere.
    return "config.json" in names or rules.part_folder is NO_PARTS


def _unread(model: str, where: str, *, is_pickle: bool) -> UnsupportedModelError:
    reason = (
        "a pickle, and INGRAIN_PICKLED_WEIGHTS is 'refuse' here"
        if is_pickle
        else "a form that is not read; safetensors are, and PyTorch's own file where it holds nothing but tensors"
    )
    return UnsupportedModelError(
        f"{model!r} has its weights only as {where!r}, {reason}. Name a revision that has safetensors (the hub's "
        "conversions are 'refs/pr/N'), or save the model anew with save_pretrained and put its folder below the "
        "directory of local models.",
        param="name",
    )
