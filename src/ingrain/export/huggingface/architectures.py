"""Refuses networks of transformers that cannot be converted, with the reasons that a user is told."""

from __future__ import annotations

from typing import Any

from ingrain.export.huggingface.config_check import refuse_other_network
from ingrain.export.model_files import unsupported
from ingrain.sources.trust import SETTING

_CHUNKED = (
    "its attention works on chunks whose number is fixed while exporting, so a graph is right for one text length only"
)
_EXPERTS = (
    "it is a mixture of experts in code of its own, which sends each token to some of its weights; an exporter cannot "
    "follow that"
)
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
    "funnel": "it halves the sequence as it goes, by steps that are fixed while exporting for one text length",
    "reformer": "its attention hashes tokens into buckets at run time, which ONNX cannot express",
    "nystromformer": "its landmark attention needs texts of one fixed length",
    "canine": "it downsamples characters in blocks that are fixed while exporting for one text length",
    "prophetnet": "its n-gram attention cannot be converted",
    "mamba": "its state-space scan is a loop over tokens, which is fixed while exporting for one text length",
    "mamba2": "its state-space scan is a loop over tokens, which is fixed while exporting for one text length",
}

_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def refuse_architecture(config: dict[str, Any], *, trust_remote_code: bool) -> None:
    """Raise where a network's ``config.json`` names an architecture that cannot be converted.

    Args:
        config: The contents of ``config.json``.
        trust_remote_code: True to let networks pass whose code comes with the model.
    """
    model_type = config.get("model_type")
    if model_type in _ARCHITECTURES:
        raise unsupported(f"Models of the type {model_type!r} cannot be converted: {_ARCHITECTURES[model_type]}.")
    if model_type == "big_bird" and config.get("attention_type", "block_sparse") == "block_sparse":
        raise unsupported(
            "BigBird with block-sparse attention cannot be converted: it changes its attention at a certain text "
            "length, and a graph holds one of the two. Set 'attention_type' to 'original_full' in its config.json."
        )
    _refuse_length_dependent_positions(config)
    auto_map = config.get("auto_map")
    if auto_map and not trust_remote_code:
        raise unsupported(
            f"The model's network {model_type!r} is code that comes with the model; it is run only where remote "
            f"code is allowed ({SETTING})."
        )
    if auto_map and "AutoModel" in auto_map:
        return  # else the code is of a head or a tokenizer, and transformers takes its own class for the network
    if not _is_native(model_type):
        raise unsupported(f"The installed transformers does not know the architecture {model_type!r}; a newer one may.")
    _refuse_experts_left_out(config)
    refuse_other_network(config)


def _refuse_experts_left_out(config: dict[str, Any]) -> None:
    """Refuse a mixture of experts whose type is known only without experts: they would be left out without a word."""
    model_type = config.get("model_type")
    for name in _EXPERT_COUNTS:
        if isinstance(config.get(name), int) and config[name] > 1 and not _has_experts(model_type):
            raise unsupported(
                f"The network {model_type!r} is a mixture of experts ({name!r} {config[name]}), and the installed "
                "transformers has that architecture without experts; the model's config.json names no code that has "
                "them ('auto_map')."
            )


def _refuse_length_dependent_positions(config: dict[str, Any]) -> None:
    """Refuse rotary positions that are computed differently for long texts: a graph holds one way only."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(scaling, dict):
        return
    # One set for the whole network, or one a kind of layer.
    for rules in (scaling, *(value for value in scaling.values() if isinstance(value, dict))):
        kind = rules.get("rope_type", rules.get("type"))
        if kind in ("dynamic", "longrope"):
            raise unsupported(
                f"The model's rotary positions ({kind!r}) depend on the text's length, which a graph cannot express."
            )


def _is_native(model_type: object) -> bool:
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def _has_experts(model_type: object) -> bool:
    """Return True where transformers' own configuration of this type counts experts, under whichever name."""
    from transformers import CONFIG_MAPPING

    parents = CONFIG_MAPPING[model_type].__mro__
    return any(name in getattr(parent, "__annotations__", {}) for parent in parents for name in _EXPERT_COUNTS)
