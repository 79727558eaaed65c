"""Properties of each source library, available without importing the library."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingrain.vocabulary import Library, Precision, Task

NO_PARTS = re.compile(r"(?!)")
TOKENIZER_FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.vocab", "*.tiktoken")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """Which files of a model are read.

    Attributes:
        side: Name patterns of configuration and tokenizer files.
        weights: Matches the full name of safetensors weights; None to read only side files.
        part_folder: Matches the full path of a folder that is a part of the model with its own weights.
        pickles: Matches the full name of PyTorch pickle weights. They are read, as data only, if a folder has no
            safetensors weights.
        pickles_allowed: Whether the operator allows pickle weights.
    """

    side: tuple[str, ...]
    weights: re.Pattern[str] | None = None
    part_folder: re.Pattern[str] = NO_PARTS
    pickles: re.Pattern[str] = re.compile(r"(?!)")
    pickles_allowed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFacts:
    """Differences between source libraries, apart from the code that exports their models.

    Attributes:
        files: Which files of a model the library reads.
        config_file: Name of a model's configuration file.
        weights_file: Name of a model's weights in a single safetensors file.
        hub_prefixes: Name prefixes of models on the hub.
        local_prefix: Name prefix of models in a local folder, None if the library has no such prefix.
        has_registry: Whether the library has a list of published models under names of its own.
        has_pretrained_tag: Whether an architecture and a tag (``pretrained``) name the weights.
        tasks: Tasks that a user may choose from, if the same weights can serve several; none without a choice.
        precisions: Supported precisions of its graphs.
    """

    files: FileRules
    config_file: str = "config.json"
    weights_file: str = "model.safetensors"
    hub_prefixes: tuple[str, ...] = ()
    local_prefix: str | None = None
    has_registry: bool = True
    has_pretrained_tag: bool = False
    tasks: tuple[Task, ...] = ()
    precisions: frozenset[Precision] = frozenset({"fp32", "fp16", "int8", "int8-safe"})


LIBRARIES: dict[Library, LibraryFacts] = {
    "sentence_transformers": LibraryFacts(
        files=FileRules(
            # A ColBERT checkpoint's own settings are in `artifact.metadata`; the two pickles are BGE-M3's small heads.
            side=(*TOKENIZER_FILES, "*.jinja", "artifact.metadata", "sparse_linear.pt", "colbert_linear.pt"),
            # Not variants (`model.fp16.safetensors`, `consolidated.safetensors`), which the library ignores.
            weights=re.compile(r"(pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors"),
            # `2_Dense`, `0_StaticEmbedding`, a router's `query_0_Transformer`.
            part_folder=re.compile(r"(\w+_)?\d+_\w+"),
            pickles=re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin"),
        ),
        has_registry=False,
        tasks=("embed", "classify", "rerank", "embed_sparse", "embed_multi_vector", "embed_tokens"),
    ),
    "open_clip": LibraryFacts(
        files=FileRules(
            side=TOKENIZER_FILES,
            # Excludes `model.safetensors`, the same model for transformers, which OpenCLIP does not read.
            weights=re.compile(r"open_clip_model\.safetensors"),
            pickles=re.compile(r"open_clip_pytorch_model\.bin"),
        ),
        config_file="open_clip_config.json",
        weights_file="open_clip_model.safetensors",
        hub_prefixes=("hf-hub:",),
        local_prefix="local-dir:",
        has_pretrained_tag=True,
    ),
    "timm": LibraryFacts(
        files=FileRules(
            side=("config.json",),
            weights=re.compile(r"model\.safetensors"),
            pickles=re.compile(r"pytorch_model\.bin"),
        ),
        hub_prefixes=("hf-hub:", "hf_hub:"),
        local_prefix="local-dir:",
        tasks=("embed", "classify"),
        # int8 only supports text encoders.
        precisions=frozenset({"fp32", "fp16"}),
    ),
}
