"""Refuses a ``config.json`` from which transformers would silently build a different network."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

from ingrain.export.model_files import unsupported

# Other names of a size, by the name that most classes of transformers use.
_SPELLINGS = {
    "hidden_size": ("n_embd", "d_model", "dim", "embed_dim", "emb_dim", "hidden_dim"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers", "encoder_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "encoder_attention_heads"),
    "intermediate_size": ("n_inner", "d_inner", "d_ff", "ffn_dim", "encoder_ffn_dim"),
}
# Classes from outside transformers that compute the same network as the class of their model type.
_SAME_NETWORK = {
    ("bert", "Contriever"): "a BertModel with mean pooling behind it",
}
# Class names of the same network.
_FAMILIES = (("Roberta", "XLMRoberta", "Camembert"),)
_ROTATIONS = ("rope", "rotary")


def refuse_other_network(config: dict[str, Any]) -> None:
    """Raise if transformers' class of ``model_type`` is not the network that the configuration describes."""
    _refuse_class(config)
    known = _known_names(config["model_type"])
    _refuse_spellings(config, known)
    positions = config.get("position_embedding_type")
    if "position_embedding_type" not in known and positions not in (None, "absolute"):
        if positions in _ROTATIONS and "rope_parameters" in known:
            return
        raise unsupported(
            f"The model's config.json asks for position embeddings of the type {positions!r}, which the installed "
            f"transformers does not have for {config['model_type']!r}; it would use absolute ones."
        )


def _refuse_class(config: dict[str, Any]) -> None:
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
    model_type = config["model_type"]
    if name is None or (model_type, name) in _SAME_NETWORK:
        return
    classes = _classes(model_type)
    plain = name.removeprefix("TF").removeprefix("Flax")
    stems = {each.removesuffix("Model") for each in classes if each.endswith("Model")}
    stems |= {stem for family in _FAMILIES if stems & set(family) for stem in family}
    # In transformers, `BertForSomething` is a BertModel with a head. For models like `M2M100Encoder`,
    # sentence-transformers loads the encoder alone.
    own = any(plain in (f"{s}Model", f"{s}Encoder") or plain.startswith(f"{s}For") for s in stems)
    if not classes or plain in classes or own:
        return
    raise unsupported(
        f"The model's config.json names the class {name!r}, which transformers does not have for {model_type!r}, and "
        f"no code comes with the model; another network would be loaded. If {name!r} is the same network as "
        f"{min(classes, key=len)!r}, write the latter into 'architectures' and put the model's folder into the "
        "directory of local models (INGRAIN_LOCAL_MODELS_DIR)."
    )


def _refuse_spellings(config: dict[str, Any], known: frozenset[str]) -> None:
    for name, spellings in _SPELLINGS.items():
        if name not in known or name in config or _read_spelling(config, name):
            continue
        for spelling in spellings:
            if spelling in known or config.get(spelling) is None:
                continue
            built = getattr(_defaults(config["model_type"]), name, None)
            if built != config[spelling]:
                raise unsupported(
                    f"The model's config.json has {spelling!r} ({config[spelling]!r}), which transformers does not "
                    f"read for {config['model_type']!r}: it would build the network with {name!r} {built!r}. Rename "
                    f"it to {name!r} and put the model's folder into the directory of local models "
                    "(INGRAIN_LOCAL_MODELS_DIR)."
                )


def _read_spelling(config: dict[str, Any], name: str) -> bool:
    """Return True if the configuration has the size under another name that the class reads."""
    aliases = getattr(_config_class(config["model_type"]), "attribute_map", {})
    return aliases.get(name) in config or any(alias in config for alias, target in aliases.items() if target == name)


def _config_class(model_type: str) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type]


@functools.cache
def _defaults(model_type: str) -> Any:
    return _config_class(model_type)()


@functools.cache
def _known_names(model_type: str) -> frozenset[str]:
    kind = _config_class(model_type)
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    return frozenset(fields | set(kind.attribute_map) | set(inspect.signature(kind.__init__).parameters))


@functools.cache
def _classes(model_type: str) -> frozenset[str]:
    """Return the classes that transformers has for a model type: the bare network, and the network with heads."""
    from transformers.models.auto import modeling_auto

    found: set[str] = set()
    for mapping, names in vars(modeling_auto).items():
        if mapping.startswith("MODEL_") and mapping.endswith("_MAPPING_NAMES") and model_type in names:
            value = names[model_type]
            found |= {value} if isinstance(value, str) else set(value)
    return frozenset(found)
