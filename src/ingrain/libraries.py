"""Facts of each source library, known without importing it."""

from __future__ import annotations

from dataclasses import dataclass

from ingrain.vocabulary import Library, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFacts:
    """What differs between source libraries outside the code that exports their models.

    Attributes:
        config_file: Name of a model's configuration.
        weights_file: Name of its weights in one safetensors file.
        hub_prefixes: Prefixes of a name that say that the model is on the hub.
        local_prefix: Prefix that says that it is a local folder, if the library has one.
        has_registry: True where the library knows architectures by names of its own, so that it is imported to look
            one up.
        has_pretrained_tag: True where weights are named by an architecture and a tag (``pretrained``).
        task_can_be_chosen: True where the same weights may embed or classify.
        precisions: What its graphs can be computed in.
        may_run_code: True where a model may bring Python code that the operator can allow.
    """

    config_file: str = "config.json"
    weights_file: str = "model.safetensors"
    hub_prefixes: tuple[str, ...] = ()
    local_prefix: str | None = None
    has_registry: bool = True
    has_pretrained_tag: bool = False
    task_can_be_chosen: bool = False
    precisions: frozenset[Precision] = frozenset({"fp32", "fp16", "int8", "int8-safe"})
    may_run_code: bool = False


LIBRARIES: dict[Library, LibraryFacts] = {
    "sentence_transformers": LibraryFacts(has_registry=False, may_run_code=True),
    "open_clip": LibraryFacts(
        config_file="open_clip_config.json",
        weights_file="open_clip_model.safetensors",
        hub_prefixes=("hf-hub:",),
        local_prefix="local-dir:",
        has_pretrained_tag=True,
    ),
    "timm": LibraryFacts(
        hub_prefixes=("hf-hub:", "hf_hub:"),
        local_prefix="local-dir:",
        task_can_be_chosen=True,
        # int8 is for text encoders.
        precisions=frozenset({"fp32", "fp16"}),
    ),
}
