"""Checks the files of a sentence-transformers model before anything is loaded; refuses what cannot be converted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ingrain.export.families.sentence_transformers.modalities import (
    is_only_for_template,
    pads_to_limit,
    refuse_chat_template,
    refuse_modalities,
)
from ingrain.export.families.sentence_transformers.modules import refuse_module
from ingrain.export.huggingface.architectures import refuse_architecture
from ingrain.export.huggingface.tokenizer_files import check_tokenizer_files, check_vocabulary
from ingrain.export.model_files import find_safetensors, read_json, unsupported
from ingrain.sources.trust import SETTING

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ROUTER_CONFIG = "router_config.json"
_TRANSFORMER = {"Transformer", "CLIPModel"}
# Modules with their own weights.
_WEIGHTED = {"Dense", "LayerNorm", "WeightedLayerPooling", "StaticEmbedding", "CNN"}
_KNOWN = _TRANSFORMER | _WEIGHTED | {"Pooling", "Normalize", "Dropout", "LogitScore"}
COLBERT_CLASS = "HF_ColBERT"
"""Name of the network in checkpoints of ColBERT's own code: any encoder with a linear layer on top."""
_OF_LATE_INTERACTION = {"MultiVectorMask"}
PYLATE_CLASSES = {"pylate.models.Dense.Dense": "Dense"}
"""Classes of PyLate, each with the class of sentence-transformers that the library takes in its place."""
TRANSFORMER_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# The class of transformers that loads a network for a task, as in an ``auto_map``.
_AUTO_CLASSES = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "text-generation": "AutoModelForCausalLM",
}
# The supported options of each module.
_MODULE_OPTIONS: dict[str, set[str]] = {
    "Pooling": {
        "word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt",
        "pooling_mode_cls_token", "pooling_mode_max_tokens", "pooling_mode_mean_tokens",
        "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken",
    },
    "Dense": {
        "in_features", "out_features", "bias", "activation_function", "module_input_name", "module_output_name",
        "use_residual",
    },
    "Normalize": {"module_input_name", "module_output_name"},
    "LogitScore": {"true_token_id", "false_token_id", "module_input_name"},
    "MultiVectorMask": {"skiplist_words", "skiplist_tasks", "keep_only_token_ids"},
}  # fmt: skip
_TRANSFORMER_OPTIONS = {
    "max_seq_length", "do_lower_case", "model_args", "model_kwargs", "tokenizer_args", "processor_kwargs",
    "config_args", "config_kwargs", "modality_config", "module_output_name", "transformer_task", "unpad_inputs",
    "processing_kwargs", "query_length", "document_length", "query_expansion",
}  # fmt: skip
_MODEL_ARGS = {
    "attn_implementation",
    "dtype",
    "torch_dtype",
    "low_cpu_mem_usage",
    "add_pooling_layer",
    "use_safetensors",
    # Ignored: only the operator decides which code may run. The code's revision is read when the code is fetched.
    "trust_remote_code",
    "code_revision",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a folder may have beside what every embedding model may have.

    Attributes:
        tasks: What the ``Transformer`` module may load the network for, in transformers' words.
        late_interaction: True: modules and options of late-interaction models.
        messages: True: a chat template, which makes a pair of texts one text.
    """

    tasks: Collection[str] = ("feature-extraction",)
    late_interaction: bool = False
    messages: bool = False


EMBEDDING_MODEL = Accepted()


@dataclass(frozen=True, slots=True)
class Module:
    """One entry of ``modules.json``: the name of its class, and its folder."""

    kind: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checked model folder.

    Attributes:
        folder: The model's folder.
        modules: Its modules in order; none for a plain transformers model.
        custom_code: True if a module comes with its own code, which the operator allowed.
    """

    folder: Path
    modules: tuple[Module, ...]
    custom_code: bool


def inspect(folder: Path, *, trust_remote_code: bool, accepted: Accepted = EMBEDDING_MODEL) -> Checkpoint:
    """Check a folder by its JSON files alone.

    Args:
        folder: The folder of a sentence-transformers model, or of a plain transformers model.
        trust_remote_code: True: accept classes that come with the model.
        accepted: What the folder may have.

    Raises:
        UnsupportedModelError: A module, option or architecture cannot be converted, the weights exist only as pickle,
            or the model needs code that is not allowed to run.
    """
    if not (folder / "modules.json").is_file():
        if not accepted.messages:
            refuse_chat_template(folder, read_json(folder / "tokenizer_config.json"))
        check_transformer(folder, trust_remote_code, accepted)
        return Checkpoint(folder, (), custom_code=False)
    modules, custom_code = [], False
    for place, (dotted, part) in enumerate(modules_of(folder)):
        kind = _known_kind(dotted, accepted.late_interaction)
        if kind is None:
            refuse_module(dotted.rpartition(".")[2])
            if not trust_remote_code:
                raise unsupported(
                    f"The model's module {dotted!r} is code that comes with the model; "
                    f"it is run only where remote code is allowed ({SETTING})."
                )
            _refuse_code_in_a_graph(dotted, is_first=place == 0)
            custom_code = True
            continue
        check_module(kind, part, trust_remote_code, accepted)
        modules.append(Module(kind, part))
    return Checkpoint(folder, tuple(modules), custom_code)


def _refuse_code_in_a_graph(dotted: str, *, is_first: bool) -> None:
    """Refuse a module that comes with the model, even if its code is allowed, because it cannot be converted.

    Exception: a first module with the class name of one of the library's encoders, which wraps a network the same way.
    """
    if not is_first or dotted.rpartition(".")[2] not in _TRANSFORMER:
        raise unsupported(
            f"The model's module {dotted!r} is custom code, which cannot be converted to ONNX; only the modules of "
            "sentence-transformers can."
        )


def modules_of(folder: Path) -> list[tuple[str, Path]]:
    """Return class and folder of every entry of ``modules.json``, and after a router those of the modules in it.

    A plain transformers model has none.

    Raises:
        UnsupportedModelError: The file cannot be read, or an entry's folder is outside the model's folder.
    """
    if not (folder / "modules.json").is_file():
        return []
    try:
        entries = msgspec.json.decode((folder / "modules.json").read_bytes(), type=list[dict[str, Any]])
        found = [(str(entry["type"]), _part(folder, str(entry.get("path", "")))) for entry in entries]
    except (msgspec.MsgspecError, KeyError) as error:
        raise unsupported("The model's modules.json cannot be read.") from error
    return [module for dotted, part in found for module in ((dotted, part), *_routed(dotted, part))]


def _routed(dotted: str, folder: Path) -> list[tuple[str, Path]]:
    """Return class and folder of the modules in a ``Router``; nothing for another module."""
    if dotted.rpartition(".")[2] not in ("Router", "Asym"):
        return []
    types = (read_json(folder / ROUTER_CONFIG) or read_json(folder / "config.json")).get("types", {})
    if not isinstance(types, dict):
        raise unsupported(f"The model's {ROUTER_CONFIG} cannot be read.")
    return [(str(kind), _part(folder, str(part))) for part, kind in types.items()]


def transformer_options(folder: Path) -> dict[str, Any]:
    """Return the options of a ``Transformer`` module from the first of its historic configuration files."""
    for name in TRANSFORMER_CONFIGS:
        if options := read_json(folder / name):
            return options
    return {}


def model_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for loading the network among the options of a ``Transformer`` module."""
    return {**options.get("model_args", {}), **options.get("model_kwargs", {})}


def own_kind(dotted: str) -> str | None:
    """Return the class name of one of sentence-transformers' own modules; None for any other class."""
    package, _, kind = dotted.rpartition(".")
    own = package.startswith("sentence_transformers.") and set(package.split(".")) & {"models", "modules"}
    return kind if own else None


def _known_kind(dotted: str, late_interaction: bool) -> str | None:
    """Return the class name of a module that can be converted; None for a class that is not the library's."""
    if late_interaction and dotted in PYLATE_CLASSES:
        return PYLATE_CLASSES[dotted]
    kind = own_kind(dotted)
    if kind is None:
        return None
    refuse_module(kind)
    if kind not in _KNOWN and not (late_interaction and kind in _OF_LATE_INTERACTION):
        raise unsupported(f"The module {kind!r} is not supported.")
    return kind


def _part(folder: Path, path: str) -> Path:
    """Return a module's folder, which must be inside the model's folder."""
    if path.startswith(("/", "\\")) or ".." in Path(path).parts:
        raise unsupported("The model's modules.json names a path outside the model's folder.")
    return folder / path


def check_module(kind: str, folder: Path, trust_remote_code: bool, accepted: Accepted = EMBEDDING_MODEL) -> None:
    """Check one of the library's modules by its options, and find its weights.

    Raises:
        UnsupportedModelError: An option cannot be converted, or the weights are missing.
    """
    if kind in _TRANSFORMER:
        check_transformer(folder, trust_remote_code, accepted)
        return
    options = read_json(folder / "config.json")
    unknown = set(options) - _MODULE_OPTIONS.get(kind, set(options))
    if unknown:
        raise unsupported(f"The module {kind!r} has the option {min(unknown)!r}, which is not supported.")
    activation = options.get("activation_function", "torch.nn.")
    if kind == "Dense" and not activation.startswith("torch.nn.") and not trust_remote_code:
        # sentence-transformers would only warn and use Tanh, which gives wrong vectors.
        raise unsupported(
            f"The activation {activation!r} of a Dense module is custom code; "
            f"it is run only where remote code is allowed ({SETTING})."
        )
    if kind in _WEIGHTED:
        find_safetensors(folder, _WEIGHTS)


def refuse_activation(checkpoint: Checkpoint) -> None:
    """Raise if the activation function of a cross-encoder's scores is custom code.

    sentence-transformers would only warn and use its default, which gives other scores.
    """
    network = checkpoint.modules[0].folder if checkpoint.modules else checkpoint.folder
    config = read_json(network / "config.json")
    named = (
        read_json(checkpoint.folder / "config_sentence_transformers.json").get("activation_fn"),
        (config.get("sentence_transformers") or {}).get("activation_fn"),
        config.get("sbert_ce_default_activation_function"),
    )
    for name in filter(None, named):
        if not str(name).startswith("torch."):
            raise unsupported(
                f"The activation {name!r} of the model's scores is custom code; only torch's are supported."
            )


def check_transformer(folder: Path, trust_remote_code: bool, accepted: Accepted = EMBEDDING_MODEL) -> None:
    """Check a ``Transformer`` module, or a plain transformers model.

    Args:
        folder: Its folder.
        trust_remote_code: True: accept classes that come with the model.
        accepted: What the folder may have.

    Raises:
        UnsupportedModelError: The network, the tokenizer or an option cannot be converted.
    """
    if (folder / "adapter_config.json").is_file():
        raise unsupported(
            "The model is an adapter (PEFT) on top of another model; merge the two and save the result first."
        )
    config = read_json(folder / "config.json")
    if not config:
        raise unsupported("The model's folder has no config.json.")
    if accepted.late_interaction and config.get("architectures") == [COLBERT_CLASS]:
        config = {**config, "architectures": None}  # transformers loads the network that `model_type` names
    auto_classes = ["AutoModel", *(_AUTO_CLASSES[task] for task in accepted.tasks)]
    refuse_architecture(config, trust_remote_code=trust_remote_code, auto_classes=auto_classes)
    _refuse_kernels(config, transformer_options(folder))
    tokenizer_config = read_json(folder / "tokenizer_config.json")
    check_tokenizer_files(folder, config, tokenizer_config)
    _check_transformer_options(transformer_options(folder), accepted)
    find_safetensors(folder, _WEIGHTS)
    check_vocabulary(folder, tokenizer_config)


def _refuse_kernels(config: dict[str, Any], options: dict[str, Any]) -> None:
    """Refuse attention kernels from a hub repository: compiled code, which no setting allows."""
    arguments = {**config, **model_arguments(options)}
    for name in ("attn_implementation", "_attn_implementation"):
        if "/" in str(arguments.get(name)):
            raise unsupported(
                f"The model asks for the attention {arguments[name]!r}, a kernel from the hub; only the attention "
                "implementations of transformers can be converted."
            )


def _check_transformer_options(options: dict[str, Any], accepted: Accepted) -> None:
    refuse_modalities(options.get("modality_config"), takes_messages=accepted.messages)
    unknown = set(options) - _TRANSFORMER_OPTIONS
    unknown |= {f"model_kwargs.{name}" for name in model_arguments(options).keys() - _MODEL_ARGS}
    processing = options.get("processing_kwargs")
    if processing and not pads_to_limit(processing) and not (accepted.messages and is_only_for_template(processing)):
        unknown.add("processing_kwargs")
    if not accepted.late_interaction:  # else a request does not say whether a text is a query or a document
        unknown |= {name for name in ("query_length", "document_length", "query_expansion") if options.get(name)}
    if options.get("transformer_task") not in (None, *accepted.tasks):
        unknown.add("transformer_task")
    if unknown:
        raise unsupported(f"The Transformer module has the option {min(unknown)!r}, which is not supported.")
