"""The kinds of repositories that the hub's text-embedding models are, at sizes that build in a moment.

Kept are the modules and their order, the files' formats, the names that configurations use on the hub, the kinds of
layers, head dimensions, windows and positions, the tokenizer's class, the prompts and the stored data type. Cut are
width, depth, vocabulary and the longest text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Module = tuple[str, dict[str, Any]]
Weights = Literal["safetensors", "pickle"]

MAX_TOKENS = 80
POSITIONS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Popular:
    """One repository.

    Attributes:
        config: Its ``config.json``, names as on the hub; ids and the vocabulary's size come from the tokenizer.
        tokenizer: Key of ``popular_tokenizers.TOKENIZERS``.
        modules: sentence-transformers' modules after the first; none for a plain transformers repository.
        network: transformers' class whose weights are stored; None for ``AutoModel``'s choice.
        native: What transformers' own configuration says where the hub's names are others.
        weights: How weights are stored.
        dtype: Data type of the transformer's weights.
        prompts: The model's prompts.
        default_prompt: The prompt used where none is named.
        max_tokens: Longest text; None where the repository sets none.
        padding_side: The tokenizer's.
        first: Dotted class of the first module, where it is not the library's.
        static: True for a table of vectors instead of a transformer.
        refused: True where the export must refuse the repository.
    """

    config: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "bert"
    modules: tuple[Module, ...] = ()
    network: str | None = None
    native: dict[str, Any] | None = None
    weights: Weights = "safetensors"
    dtype: str = "float32"
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_tokens: int | None = MAX_TOKENS
    padding_side: str = "right"
    first: str | None = None
    static: bool = False
    refused: bool = False


CLS: Module = ("Pooling", {"pooling_mode_cls_token": True})
MEAN: Module = ("Pooling", {"pooling_mode_mean_tokens": True})
LAST: Module = ("Pooling", {"pooling_mode_lasttoken": True})
UNIT: Module = ("Normalize", {})


def dense(
    width: int, activation: str = "linear.Identity", *, bias: bool = True, weights: str = "safetensors"
) -> Module:
    """Return a Dense module as its own configuration names its parts."""
    return ("Dense", {"out": width, "activation": f"torch.nn.modules.{activation}", "bias": bias, "weights": weights})


def sizes(head: int = 64, heads: int = 2, layers: int = 2) -> dict[str, Any]:
    """Return a transformer's sizes by the head's width, which is the repository's own."""
    width = head * heads
    return {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "intermediate_size": 2 * width,
    }


def bert(
    *modules: Module, head: int = 64, layers: int = 2, config: dict[str, Any] | None = None, **row: Any
) -> Popular:
    """Return a repository with a BERT, and these modules behind it."""
    own = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **sizes(head, layers=layers),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "gradient_checkpointing": False,
        "use_cache": True,
    }
    return Popular(config=own | (config or {}), modules=modules, **row)


def xlm(
    *modules: Module, head: int = 64, kind: str = "xlm-roberta", name: str = "XLMRobertaModel", **row: Any
) -> Popular:
    """Return a repository with an XLM-RoBERTa, or a kin of it."""
    # Positions begin after the padding id, so that a table of 82 holds 80 tokens.
    config = {
        "architectures": [name],
        "model_type": kind,
        **sizes(head),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": MAX_TOKENS + 2,
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "output_past": True,
    }
    return Popular(config=config, modules=modules, **{"tokenizer": "xlm-roberta", **row})


def roberta(*modules: Module, head: int = 64, **row: Any) -> Popular:
    """Return a repository with a RoBERTa."""
    return xlm(*modules, head=head, kind="roberta", name="RobertaModel", **{"tokenizer": "roberta", **row})


def mpnet(*modules: Module) -> Popular:
    """Return a repository with an MPNet."""
    config = {
        "architectures": ["MPNetModel"],
        "model_type": "mpnet",
        **sizes(),
        "relative_attention_num_buckets": 32,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": MAX_TOKENS + 2,
    }
    return Popular(config=config, tokenizer="mpnet", modules=modules)


def distilbert(*modules: Module, cased: bool = False) -> Popular:
    """Return a repository with a DistilBERT."""
    config = {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "activation": "gelu",
        "dim": 128,
        "hidden_dim": 256,
        "n_heads": 2,
        "n_layers": 2,
        "max_position_embeddings": POSITIONS,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
    }
    return Popular(config=config, tokenizer="distilbert-cased" if cased else "distilbert", modules=modules)


def t5(*modules: Module, **row: Any) -> Popular:
    """Return a repository with a T5 encoder, pickled."""
    config = {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "d_model": 128,
        "d_kv": 64,
        "d_ff": 256,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 2,
        "feed_forward_proj": "relu",
        "is_encoder_decoder": True,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "n_positions": 512,
    }
    return Popular(config=config, tokenizer="t5", modules=modules, network="T5EncoderModel", weights="pickle", **row)


def modernbert(*modules: Module, **row: Any) -> Popular:
    """Return a repository with a ModernBERT: every third layer sees the whole text."""
    config = {
        "architectures": ["ModernBertModel"],
        "model_type": "modernbert",
        **sizes(layers=4),
        "hidden_activation": "gelu",
        "max_position_embeddings": POSITIONS,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_attention": 16,
        "local_rope_theta": 10000.0,
        "norm_eps": 1e-5,
        "classifier_pooling": "mean",
        "reference_compile": False,
        "deterministic_flash_attn": False,
    }
    return Popular(config=config, tokenizer="modernbert", modules=modules, **row)


def decoder(kind: str, name: str, *modules: Module, tokenizer: str, config: dict[str, Any], **row: Any) -> Popular:
    """Return a repository with a language model, padded on the left."""
    own = {
        "architectures": [name],
        "model_type": kind,
        **sizes(heads=4),
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "use_cache": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
    }
    return Popular(
        config=own | config,
        tokenizer=tokenizer,
        modules=modules,
        **{"padding_side": "left", "dtype": "bfloat16", **row},
    )


def mistral(**row: Any) -> Popular:
    """Return a repository with a Mistral and its sliding window."""
    config = {"rope_theta": 10000.0, "sliding_window": 16, "rms_norm_eps": 1e-5}
    modules = (LAST, UNIT)
    return decoder("mistral", "MistralModel", *modules, tokenizer="llama", config=config, dtype="float16", **row)


_NOMIC_CODE = "nomic-ai/nomic-bert-2048--"
NOMIC = {
    "architectures": ["NomicBertModel"],
    "model_type": "nomic_bert",
    "auto_map": {
        "AutoConfig": f"{_NOMIC_CODE}configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": f"{_NOMIC_CODE}modeling_hf_nomic_bert.NomicBertModel",
    },
    "activation_function": "swiglu",
    "n_embd": 128,
    "n_head": 2,
    "n_inner": 256,
    "n_layer": 2,
    "n_positions": 8192,
    "max_trained_positions": 2048,
    "layer_norm_epsilon": 1e-12,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "qkv_proj_bias": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "causal": False,
    "prenorm": False,
    "parallel_block": False,
    "use_rms_norm": False,
    "use_flash_attn": True,
    "type_vocab_size": 2,
    "scale_attn_weights": True,
}


def nomic(*modules: Module, **row: Any) -> Popular:
    """Return a repository with nomic's BERT, configured by the names of its own code."""
    native = {
        **sizes(),
        "type_vocab_size": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
        "layer_norm_eps": 1e-12,
    }
    return Popular(config=NOMIC, native=native, modules=modules, **row)


_NEW_CODE = "Alibaba-NLP/new-impl--"
NEW = {
    "architectures": ["NewModel"],
    "model_type": "new",
    "auto_map": {
        "AutoConfig": f"{_NEW_CODE}configuration.NewConfig",
        "AutoModel": f"{_NEW_CODE}modeling.NewModel",
    },
    **sizes(),
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "layer_norm_type": "layer_norm",
    "max_position_embeddings": 8192,
    "pack_qkv": True,
    "position_embedding_type": "rope",
    "type_vocab_size": 1,
    "unpad_inputs": False,
    "use_memory_efficient_attention": False,
}
GTE = {
    **sizes(),
    "max_position_embeddings": 8192,
    "type_vocab_size": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0},
}


def remote(config: dict[str, Any], *modules: Module, **row: Any) -> Popular:
    """Return a repository whose class is code on the hub: without that code there is nothing to prove it against."""
    return Popular(config=config, modules=modules, refused=True, **row)


def qwen2(*modules: Module, prompts: dict[str, str]) -> Popular:
    """Return a repository with a copy of Qwen2 that attends both ways, in code of its own."""
    code = {"AutoModel": "modeling_qwen.Qwen2Model", "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM"}
    config = {
        "auto_map": code,
        "is_causal": False,
        "rope_theta": 1000000.0,
        "sliding_window": 131072,
        "use_sliding_window": False,
        "max_window_layers": 2,
    }
    return decoder(
        "qwen2", "Qwen2ForCausalLM", *modules, tokenizer="qwen", config=config, prompts=prompts, dtype="float32",
        max_tokens=MAX_TOKENS,
    )  # fmt: skip
