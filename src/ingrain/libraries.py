"""Facts of each source library, known without importing it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingrain.vocabulary import Library, Precision

NO_PARTS = re.compile(r"(?!)")
TOKENIZER_FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.vocab", "*.tiktoken")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """Which files of a model are read.

    Attributes:
        side: Patterns of file names: configurations, tokenizers.
        weights: Matches the whole file name of weights, safetensors only; None where only side files are wanted.
        part_folder: Matches the whole path of a folder that is a part of the model with weights of its own.
        pickles: Matches the whole file name of the same weights as PyTorch pickles them, which are read, as data
            alone, where a folder has no others.
        pickles_allowed: False where the operator forbids it.
    """

    side: tuple[str, ...]
    weights: re.Pattern[str] | None = None
    part_folder: re.Pattern[str] = NO_PARTS
    pickles: re.Pattern[str] = re.compile(r"(?!)")
    pickles_allowed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFacts:
    """What differs between source libraries outside the code that exports their models.

    Attributes:
        files: Which files of a model the library reads.
        config_file: Name of a model's configuration.
        weights_file: Name of its weights in one safetensors file.
        hub_prefixes: Prefixes of a name that say that the model is on the hub.
        local_prefix: Prefix that says that it is a local folder, if the library has one.
        has_registry: True where the library knows architectures by names of its own, so that it is imported to look
            one up.
        has_pretrained_tag: True where weights are named by an architecture and a tag (``pretrained``).
        task_can_be_chosen: True where the same weights may embed or classify.
        precisions: What its graphs can be computed in.
    """

    files: FileRules
    config_file: str = "config.json"
    weights_file: str = "model.safetensors"
    hub_prefixes: tuple[str, ...] = ()
    local_prefix: str | None = None
    has_registry: bool = True
    has_pretrained_tag: bool = False
    task_can_be_chosen: bool = False
    precisions: frozenset[Precision] = frozenset({"fp32", "fp16", "int8", "int8-safe"})


LIBRARIES: dict[Library, LibraryFacts] = {
    "sentence_transformers": LibraryFacts(
        files=FileRules(
            side=(*TOKENIZER_FILES, "*.jinja"),
            # No variants beside them (`model.fp16.safetensors`, `consolidated.safetensors`): the library reads none.
            weights=re.compile(r"(pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors"),
            # `2_Dense`, `0_StaticEmbedding`, a router's `query_0_Transformer`.
            part_folder=re.compile(r"(\w+_)?\d+_\w+"),
            pickles=re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin"),
        ),
        has_registry=False,
    ),
    "open_clip": LibraryFacts(
        files=FileRules(
            side=TOKENIZER_FILES,
            # The same model for transformers (`model.safetensors`) often lies beside them; OpenCLIP does not read it.
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
        task_can_be_chosen=True,
        # int8 is for text encoders.
        precisions=frozenset({"fp32", "fp16"}),
    ),
}
