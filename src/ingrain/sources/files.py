"""Receives the list of a model's files, and hands on those worth fetching; a model in pickle alone is refused here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from ingrain.errors import UnsupportedModelError
from ingrain.repository.manifest import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """Which files of a model a source library reads.

    Attributes:
        side: Patterns of file names: configurations, tokenizers.
        weights: Matches the whole file name of weights, safetensors only; None where only side files are wanted.
        part_folder: Matches the whole path of a folder that is a part of the model with weights of its own.
    """

    side: tuple[str, ...]
    weights: re.Pattern[str] | None
    part_folder: re.Pattern[str]


_NO_PARTS = re.compile(r"(?!)")
_TOKENIZERS = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.vocab", "*.tiktoken")

RULES: dict[Library, FileRules] = {
    "sentence_transformers": FileRules(
        side=("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.vocab", "*.tiktoken", "*.jinja"),
        # No variants beside them (`model.fp16.safetensors`, `consolidated.safetensors`): the library reads none.
        weights=re.compile(r"(pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors"),
        # `2_Dense`, `0_StaticEmbedding`, a router's `query_0_Transformer`.
        part_folder=re.compile(r"(\w+_)?\d+_\w+"),
    ),
    "open_clip": FileRules(
        side=_TOKENIZERS,
        # Beside them often lies the same model for transformers (`model.safetensors`), which OpenCLIP does not read.
        weights=re.compile(r"open_clip_model\.safetensors"),
        part_folder=_NO_PARTS,
    ),
    "timm": FileRules(side=("config.json",), weights=re.compile(r"model\.safetensors"), part_folder=_NO_PARTS),
}
TOKENIZER_ONLY = FileRules(side=_TOKENIZERS, weights=None, part_folder=_NO_PARTS)
CONFIG_ONLY = FileRules(side=("config.json",), weights=None, part_folder=_NO_PARTS)

# Exports for other runtimes, results and checkpoints of training: never read, often larger than the model.
_UNUSED_FOLDERS = ("onnx", "openvino", "coreml", "gguf", "flax", "eval", "runs", "logs", "checkpoint-*", ".*")

_PICKLE = re.compile(r"(open_clip_)?(pytorch_|tf_|flax_|rust_)?model.*\.(bin|pt|pth|ckpt|pkl|h5|msgpack|ot|npz)")


def choose_files(
    paths: Iterable[str], library: Library, *, trust_remote_code: bool, model: str, rules: FileRules | None = None
) -> list[str]:
    """Return the files to fetch, small ones first.

    Args:
        paths: Every file of the model, relative, with ``/``.
        library: The source library.
        trust_remote_code: True to fetch Python files as well.
        model: The model's name, for the message of an error.
        rules: Other rules than the library's.

    Raises:
        UnsupportedModelError: The weights, or those of a part of the model, are not there as safetensors.
    """
    rules = rules or RULES[library]
    used = [path for path in paths if not _is_unused(path)]
    weights: list[str] = []
    if rules.weights is not None:
        weights = [path for path in used if rules.weights.fullmatch(PurePosixPath(path).name)]
        _refuse_without_safetensors(used, weights, rules, model)
    patterns = (*rules.side, "*.py") if trust_remote_code else rules.side
    side = [path for path in used if any(fnmatchcase(PurePosixPath(path).name, pattern) for pattern in patterns)]
    return sorted(side) + sorted(weights)


def _is_unused(path: str) -> bool:
    folders = PurePosixPath(path).parts[:-1]
    return any(fnmatchcase(folder, pattern) for folder in folders for pattern in _UNUSED_FOLDERS)


def _refuse_without_safetensors(used: list[str], weights: list[str], rules: FileRules, model: str) -> None:
    """Raise where a folder that must have weights has them in another form only."""
    in_folder = defaultdict[str, list[str]](list)
    for path in used:
        in_folder[str(PurePosixPath(path).parent)].append(PurePosixPath(path).name)
    with_weights = {str(PurePosixPath(path).parent) for path in weights}
    for folder, names in sorted(in_folder.items()):
        pickles = sorted(name for name in names if _PICKLE.fullmatch(name))
        # Weights in the root belong to a network only where its configuration lies beside them.
        is_part = "config.json" in names if folder == "." else bool(rules.part_folder.fullmatch(folder))
        if is_part and pickles and folder not in with_weights:
            where = pickles[0] if folder == "." else f"{folder}/{pickles[0]}"
            raise UnsupportedModelError(_pickle_message(model, where), param="name")
    if weights:
        return
    if any(name == "adapter_model.safetensors" for name in in_folder["."]):
        raise UnsupportedModelError(
            f"{model!r} is an adapter to another model, not a model; merge the two (merge_and_unload in peft), save "
            "the result and put its folder below the directory of local models.",
            param="name",
        )
    found = sorted(path for path in used if _PICKLE.fullmatch(PurePosixPath(path).name))
    if found:
        raise UnsupportedModelError(_pickle_message(model, found[0]), param="name")
    raise UnsupportedModelError(
        f"{model!r} has no weights that this version reads (model.safetensors, whole or in shards).", param="name"
    )


def _pickle_message(model: str, where: str) -> str:
    return (
        f"{model!r} has its weights only as {where!r}; Ingrain reads safetensors alone, for a pickle can run code when "
        "it is loaded. Name a revision that has them (the hub's conversions are 'refs/pr/N'), or save the "
        "model anew with save_pretrained and put its folder below the directory of local models."
    )
