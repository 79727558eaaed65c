"""Refuses transformers architectures that cannot be converted, and states the reason."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ingrain.export.huggingface.config_check import refuse_other_network
from ingrain.export.model_files import unsupported
from ingrain.sources.trust import SETTING

_CHUNKED = (
    "its attention works on chunks, whose number the export fixes, so a graph is correct for one text length only"
)
_EXPERTS = (
    "it is a mixture of experts in its own code, which routes each token to some of its weights; the ONNX exporters "
    "cannot follow that"
)
_SCAN = "its state-space scan is a loop over tokens, which the export fixes for one text length"
_ARCHITECTURES = {
    "dbrx": _EXPERTS,
    "jetmoe": _EXPERTS,
    "llama4_text": _EXPERTS,
    "longcat_flash": _EXPERTS,
    "nllb-moe": _EXPERTS,
    "switch_transformers": _EXPERTS,
    "led": _CHUNKED,
    "longt5": _CHUNKED,
    "bigbird_pegasus": _CHUNKED,
    "funnel": "it halves the sequence in steps that the export fixes for one text length",
    "reformer": "its attention hashes tokens into buckets at run time, which ONNX cannot express",
    "nystromformer": "its landmark attention needs texts of one fixed length",
    "canine": "it downsamples characters in blocks that the export fixes for one text length",
    "prophetnet": "its n-gram attention cannot be converted",
    "mamba": _SCAN,
    "mamba2": _SCAN,
}

_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def refuse_architecture(
    config: dict[str, Any], *, trust_remote_code: bool, auto_classes: Collection[str] = ("AutoModel",)
) -> None:
    """Raise if a network's ``config.json`` names an architecture that cannot be converted.

    Args:
        config: The contents of ``config.json``.
        trust_remote_code: True: accept networks whose code comes with the model.
        auto_classes: The classes of transformers that may load the network, as an ``auto_map`` calls them.
    """
    model_type = config.get("model_type")
    if model_type in _ARCHITECTURES:
        raise unsupported(f"Models of the type {model_type!r} cannot be converted: {_ARCHITECTURES[model_type]}.")
    if model_type == "big_bird" and config.get("attention_type", "block_sparse") == "block_sparse":
        raise unsupported(
            "BigBird with block-sparse attention cannot be converted: it switches to another attention at a certain "
            "text length, which a graph cannot do. Set 'attention_type' to 'original_full' in its config.json."
        )
    _refuse_length_dependent_positions(config)
    auto_map = config.get("auto_map")
    if auto_map and not trust_remote_code:
        raise unsupported(
            f"The model's network {model_type!r} is code that comes with the model; it is run only where remote "
            f"code is allowed ({SETTING})."
        )
    if auto_map and any(name in auto_map for name in auto_classes):
        return  # any other entry is code of another head or a tokenizer; transformers loads its own class
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise unsupported(f"The installed transformers does not know the architecture {model_type!r}; a newer one may.")
    _refuse_experts_left_out(config)
    refuse_other_network(config)


def _refuse_experts_left_out(config: dict[str, Any]) -> None:
    """Refuse a mixture of experts if transformers has the architecture only without; it would ignore the experts."""
    model_type = config.get("model_type")
    for name in _EXPERT_COUNTS:
        if isinstance(config.get(name), int) and config[name] > 1 and not _has_experts(model_type):
            raise unsupported(
                f"The network {model_type!r} is a mixture of experts ({name!r} {config[name]}), but the installed "
                "transformers has that architecture without experts, and the model's config.json names no code for "
                "them ('auto_map')."
            )


def _refuse_length_dependent_positions(config: dict[str, Any]) -> None:
    """Refuse rotary positions that are computed differently for long texts."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(scaling, dict):
        return
    # One set of parameters for the whole network, or one per kind of layer.
    for rules in (scaling, *(value for value in scaling.values() if isinstance(value, dict))):
        kind = rules.get("rope_type", rules.get("type"))
        if kind in ("dynamic", "longrope"):
            raise unsupported(
                f"The model's rotary positions ({kind!r}) depend on the text's length, which a graph cannot express."
            )


def _has_experts(model_type: object) -> bool:
    """Return True if transformers' configuration class of this type has a number of experts."""
    from transformers import CONFIG_MAPPING

    parents = CONFIG_MAPPING[model_type].__mro__
    return any(name in getattr(parent, "__annotations__", {}) for parent in parents for name in _EXPERT_COUNTS)
