"""The sixty most used text-embedding repositories of the hub: what each is made of, at sizes that build in a moment.

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
_POSITIONS = 128


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
    static: bool = False
    refused: bool = False


_CLS: Module = ("Pooling", {"pooling_mode_cls_token": True})
_MEAN: Module = ("Pooling", {"pooling_mode_mean_tokens": True})
_LAST: Module = ("Pooling", {"pooling_mode_lasttoken": True})
_UNIT: Module = ("Normalize", {})


def _dense(width: int, activation: str = "linear.Identity", *, bias: bool = True, weights: str = "safetensors") -> Module:
    return ("Dense", {"out": width, "activation": f"torch.nn.modules.{activation}", "bias": bias, "weights": weights})


def _sizes(head: int = 64, heads: int = 2, layers: int = 2) -> dict[str, Any]:
    width = head * heads
    return {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "intermediate_size": 2 * width,
    }


def _bert(*modules: Module, head: int = 64, layers: int = 2, config: dict[str, Any] | None = None, **row: Any) -> Popular:
    own = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **_sizes(head, layers=layers),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": _POSITIONS,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "gradient_checkpointing": False,
        "use_cache": True,
    }
    return Popular(config=own | (config or {}), modules=modules, **row)


def _xlm(*modules: Module, head: int = 64, kind: str = "xlm-roberta", name: str = "XLMRobertaModel", **row: Any) -> Popular:
    # Positions begin after the padding id, so that a table of 82 holds 80 tokens.
    config = {
        "architectures": [name],
        "model_type": kind,
        **_sizes(head),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": MAX_TOKENS + 2,
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "output_past": True,
    }
    return Popular(config=config, modules=modules, **{"tokenizer": "xlm-roberta", **row})


def _roberta(*modules: Module, head: int = 64, **row: Any) -> Popular:
    return _xlm(*modules, head=head, kind="roberta", name="RobertaModel", **{"tokenizer": "roberta", **row})


def _mpnet(*modules: Module) -> Popular:
    config = {
        "architectures": ["MPNetModel"],
        "model_type": "mpnet",
        **_sizes(),
        "relative_attention_num_buckets": 32,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": MAX_TOKENS + 2,
    }
    return Popular(config=config, tokenizer="mpnet", modules=modules)


def _distilbert(*modules: Module, cased: bool = False) -> Popular:
    config = {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "activation": "gelu",
        "dim": 128,
        "hidden_dim": 256,
        "n_heads": 2,
        "n_layers": 2,
        "max_position_embeddings": _POSITIONS,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
    }
    return Popular(config=config, tokenizer="distilbert-cased" if cased else "distilbert", modules=modules)


def _t5(*modules: Module, **row: Any) -> Popular:
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
    return Popular(
        config=config, tokenizer="t5", modules=modules, network="T5EncoderModel", weights="pickle", **row
    )


def _modernbert(*modules: Module, **row: Any) -> Popular:
    config = {
        "architectures": ["ModernBertModel"],
        "model_type": "modernbert",
        **_sizes(layers=4),
        "hidden_activation": "gelu",
        "max_position_embeddings": _POSITIONS,
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


def _decoder(kind: str, name: str, *modules: Module, tokenizer: str, config: dict[str, Any], **row: Any) -> Popular:
    own = {
        "architectures": [name],
        "model_type": kind,
        **_sizes(heads=4),
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


def _mistral(**row: Any) -> Popular:
    config = {"rope_theta": 10000.0, "sliding_window": 16, "rms_norm_eps": 1e-5}
    modules = (_LAST, _UNIT)
    return _decoder("mistral", "MistralModel", *modules, tokenizer="llama", config=config, dtype="float16", **row)


_NOMIC_CODE = "nomic-ai/nomic-bert-2048--"
_NOMIC = {
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


def _nomic(*modules: Module, **row: Any) -> Popular:
    native = {
        **_sizes(),
        "type_vocab_size": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
        "layer_norm_eps": 1e-12,
    }
    return Popular(config=_NOMIC, native=native, modules=modules, **row)


_NEW_CODE = "Alibaba-NLP/new-impl--"
_NEW = {
    "architectures": ["NewModel"],
    "model_type": "new",
    "auto_map": {
        "AutoConfig": f"{_NEW_CODE}configuration.NewConfig",
        "AutoModel": f"{_NEW_CODE}modeling.NewModel",
    },
    **_sizes(),
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
_GTE = {
    **_sizes(),
    "max_position_embeddings": 8192,
    "type_vocab_size": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0},
}


def _remote(config: dict[str, Any], *modules: Module, **row: Any) -> Popular:
    """Return a repository whose class is code on the hub: without that code there is nothing to prove it against."""
    return Popular(config=config, modules=modules, refused=True, **row)


def _qwen2(*modules: Module, prompts: dict[str, str]) -> Popular:
    code = {"AutoModel": "modeling_qwen.Qwen2Model", "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM"}
    config = {
        "auto_map": code,
        "is_causal": False,
        "rope_theta": 1000000.0,
        "sliding_window": 131072,
        "use_sliding_window": False,
        "max_window_layers": 2,
    }
    return _decoder(
        "qwen2", "Qwen2ForCausalLM", *modules, tokenizer="qwen", config=config, prompts=prompts, dtype="float32",
        max_tokens=MAX_TOKENS,
    )  # fmt: skip


_RETRIEVE = {"query": "Represent this sentence for searching relevant passages: "}
_QUERY = {"query": "query: ", "document": ""}
_WEB = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
_TANH = "activation.Tanh"
_PICKLED: dict[str, Any] = {"weights": "pickle"}
_SNOW_CODE = {
    "AutoConfig": "configuration_hf_alibaba_nlp_gte.GteConfig",
    "AutoModel": "modeling_hf_alibaba_nlp_gte.GteModel",
}
_JINA_2 = "jinaai/jina-bert-implementation--"
_JINA_3 = "jinaai/xlm-roberta-flash-implementation--"
_EURO_CODE = {"AutoConfig": "configuration_eurobert.EuroBertConfig", "AutoModel": "modeling_eurobert.EuroBertModel"}
_MINI = 32  # MiniLM's head dimension
_T5_TAIL = (_MEAN, _dense(96, bias=False, weights="pickle"), _UNIT)

POPULAR: dict[str, Popular] = {
    "sentence-transformers/all-MiniLM-L6-v2": _bert(_MEAN, _UNIT, head=_MINI),
    "sentence-transformers/all-MiniLM-L12-v2": _bert(_MEAN, _UNIT, head=_MINI, layers=4),
    "sentence-transformers/all-mpnet-base-v2": _mpnet(_MEAN, _UNIT),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": _bert(
        _MEAN, head=_MINI, config={"pad_token_id": 0}, tokenizer="xlm-roberta"
    ),
    "sentence-transformers/paraphrase-multilingual-mpnet-base-v2": _xlm(_MEAN),
    "sentence-transformers/paraphrase-MiniLM-L6-v2": _bert(_MEAN, head=_MINI),
    "sentence-transformers/paraphrase-albert-small-v2": Popular(
        config={
            "architectures": ["AlbertModel"],
            "model_type": "albert",
            **_sizes(),
            "embedding_size": 32,
            "hidden_act": "gelu_new",
            "inner_group_num": 1,
            "num_hidden_groups": 1,
            "max_position_embeddings": _POSITIONS,
            "type_vocab_size": 2,
        },
        tokenizer="albert",
        modules=(_MEAN,),
    ),
    "sentence-transformers/multi-qa-MiniLM-L6-cos-v1": _bert(_MEAN, _UNIT, head=_MINI),
    "sentence-transformers/multi-qa-mpnet-base-dot-v1": _mpnet(_CLS),
    "sentence-transformers/msmarco-distilbert-base-tas-b": _distilbert(_CLS),
    "sentence-transformers/distiluse-base-multilingual-cased-v2": _distilbert(
        _MEAN, _dense(96, _TANH, weights="pickle"), cased=True
    ),
    "sentence-transformers/LaBSE": _bert(_CLS, _dense(128, _TANH), _UNIT, tokenizer="bert-cased"),
    "sentence-transformers/all-distilroberta-v1": _roberta(_MEAN, _UNIT),
    "sentence-transformers/all-roberta-large-v1": _roberta(_MEAN, _UNIT),
    "sentence-transformers/gtr-t5-base": _t5(*_T5_TAIL),
    "sentence-transformers/sentence-t5-base": _t5(*_T5_TAIL),
    "sentence-transformers/allenai-specter": _bert(_CLS),
    "BAAI/bge-small-en-v1.5": _bert(_CLS, _UNIT, head=_MINI),
    "BAAI/bge-base-en-v1.5": _bert(_CLS, _UNIT),
    "BAAI/bge-large-en-v1.5": _bert(_CLS, _UNIT, layers=4),
    "BAAI/bge-large-zh-v1.5": _bert(_CLS, _UNIT, **_PICKLED),
    "BAAI/bge-m3": _xlm(_CLS, _UNIT, **_PICKLED),
    "intfloat/e5-small-v2": _bert(_MEAN, _UNIT, head=_MINI),
    "intfloat/e5-large-v2": _bert(_MEAN, _UNIT, layers=4),
    "intfloat/multilingual-e5-small": _bert(
        _MEAN, _UNIT, head=_MINI, config={"pad_token_id": 0}, tokenizer="xlm-roberta"
    ),
    "intfloat/multilingual-e5-base": _xlm(_MEAN, _UNIT),
    "intfloat/multilingual-e5-large": _xlm(_MEAN, _UNIT),
    "intfloat/multilingual-e5-large-instruct": _xlm(_MEAN, _UNIT, dtype="float16"),
    "intfloat/e5-mistral-7b-instruct": _mistral(prompts={"web_search_query": f"{_WEB} ", "sts_query": "Instruct: "}),
    "thenlper/gte-small": _bert(_MEAN, _UNIT, head=_MINI, dtype="float16"),
    "thenlper/gte-large": _bert(_MEAN, _UNIT, dtype="float16"),
    "Alibaba-NLP/gte-multilingual-base": Popular(
        config=_NEW | {"rope_theta": 20000, "rope_scaling": {"factor": 8.0, "type": "ntk"}},
        native=_GTE,
        modules=(_CLS, _UNIT),
        tokenizer="xlm-roberta",
    ),
    "Alibaba-NLP/gte-Qwen2-1.5B-instruct": _qwen2(_LAST, _UNIT, prompts={"query": f"{_WEB} "}),
    "Alibaba-NLP/gte-modernbert-base": _modernbert(_CLS, dtype="float16"),
    "NovaSearch/stella_en_1.5B_v5": _qwen2(
        _MEAN, _dense(64), prompts={"s2p_query": f"{_WEB} ", "s2s_query": "Instruct: Retrieve similar text.\nQuery: "}
    ),
    "Qwen/Qwen3-Embedding-0.6B": _decoder(
        "qwen3",
        "Qwen3ForCausalLM",
        _LAST,
        _UNIT,
        tokenizer="qwen",
        config={"head_dim": 128, "attention_bias": False, "rope_theta": 1000000, "sliding_window": None,
                "max_position_embeddings": 512, "use_sliding_window": False, "max_window_layers": 2, "tie_word_embeddings": True},
        prompts={"query": _WEB, "document": ""},
        max_tokens=None,
    ),
    "google/embeddinggemma-300m": _decoder(
        "gemma3_text",
        "Gemma3TextModel",
        _MEAN,
        _dense(256, bias=False),
        _dense(64, bias=False),
        _UNIT,
        tokenizer="gemma",
        config={"head_dim": 64, "query_pre_attn_scalar": 64, "hidden_activation": "gelu_pytorch_tanh",
                "num_key_value_heads": 1, "num_hidden_layers": 3, "sliding_window": 16,
                "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
                "rope_local_base_freq": 10000.0, "rope_theta": 1000000.0, "use_bidirectional_attention": True},
        prompts={"query": "task: search result | query: ", "document": "title: none | text: "},
        padding_side="right",
        dtype="float32",
    ),
    "nomic-ai/nomic-embed-text-v1": _nomic(_MEAN, _UNIT),
    "nomic-ai/nomic-embed-text-v1.5": _nomic(_MEAN),
    "nomic-ai/nomic-embed-text-v2-moe": _remote(
        _NOMIC | {"activation_function": "gelu", "num_experts": 8, "moe_top_k": 2, "moe_every_n_layers": 2,
                  "rotary_emb_base": 10000, "type_vocab_size": 1, "qkv_proj_bias": True, "mlp_fc1_bias": True,
                  "mlp_fc2_bias": True},
        _MEAN,
        _UNIT,
        native=_sizes(),
        tokenizer="xlm-roberta",
        prompts={"query": "search_query: ", "passage": "search_document: "},
    ),
    "nomic-ai/modernbert-embed-base": _modernbert(
        _MEAN, _UNIT, prompts={"query": "search_query: ", "document": "search_document: "}
    ),
    "Snowflake/snowflake-arctic-embed-m-v1.5": _bert(_CLS, _UNIT, prompts=_RETRIEVE),
    "Snowflake/snowflake-arctic-embed-l-v2.0": _xlm(_CLS, _UNIT, prompts=_QUERY),
    "Snowflake/snowflake-arctic-embed-m-v2.0": Popular(
        config=_NEW | {"architectures": ["GteModel"], "model_type": "gte", "auto_map": _SNOW_CODE,
                       "rope_theta": 160000, "rope_scaling": None},
        tokenizer="xlm-roberta",
        modules=(_CLS, _UNIT),
        prompts=_QUERY,
    ),
    "mixedbread-ai/mxbai-embed-large-v1": _bert(
        _CLS, config={"use_cache": False}, prompts=_RETRIEVE | {"passage": ""}, dtype="float16"
    ),
    "mixedbread-ai/mxbai-embed-xsmall-v1": _bert(_MEAN, head=_MINI, prompts=_RETRIEVE | {"passage": ""}),
    "jinaai/jina-embeddings-v2-base-en": _remote(
        _bert().config | {"architectures": ["JinaBertForMaskedLM"], "position_embedding_type": "alibi",
                          "feed_forward_type": "geglu", "emb_pooler": "mean",
                          "auto_map": {"AutoConfig": f"{_JINA_2}configuration_bert.JinaBertConfig",
                                       "AutoModel": f"{_JINA_2}modeling_bert.JinaBertModel"}},
        _MEAN,
    ),
    "jinaai/jina-embeddings-v3": _remote(
        _xlm().config | {"architectures": ["XLMRobertaModel"], "position_embedding_type": "rotary",
                         "lora_adaptations": ["retrieval.query", "retrieval.passage"], "lora_rank": 4,
                         "auto_map": {"AutoConfig": f"{_JINA_3}configuration_xlm_roberta.XLMRobertaFlashConfig",
                                      "AutoModel": f"{_JINA_3}modeling_lora.XLMRobertaLoRA"}},
        _MEAN,
        _UNIT,
        tokenizer="xlm-roberta",
    ),
    "hkunlp/instructor-large": _t5(*_T5_TAIL),
    "facebook/contriever": _bert(config={"architectures": ["Contriever"]}, **_PICKLED),
    "princeton-nlp/sup-simcse-bert-base-uncased": _bert(**_PICKLED),
    "cambridgeltl/SapBERT-from-PubMedBERT-fulltext": _bert(),
    "NeuML/pubmedbert-base-embeddings": _bert(_MEAN),
    "WhereIsAI/UAE-Large-V1": _bert(_CLS),
    "avsolatorio/GIST-small-Embedding-v0": _bert(_CLS, _UNIT, head=_MINI),
    "jhgan/ko-sroberta-multitask": _roberta(_MEAN, tokenizer="bert-korean"),
    "cointegrated/rubert-tiny2": _bert(_CLS, _UNIT, head=26, tokenizer="bert-cased"),
    "ibm-granite/granite-embedding-30m-english": _roberta(_CLS, _UNIT, head=_MINI, dtype="bfloat16"),
    "EuroBERT/EuroBERT-210m": Popular(
        config={
            "architectures": ["EuroBertForMaskedLM"],
            "model_type": "eurobert",
            "auto_map": _EURO_CODE,
            **_sizes(),
            "num_key_value_heads": 2,
            "hidden_act": "silu",
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 250000,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "clf_pooling": "late",
        },
        tokenizer="eurobert",
        dtype="bfloat16",
        network="EuroBertForMaskedLM",
        max_tokens=MAX_TOKENS,
    ),
    "minishlab/potion-base-8M": Popular(static=True, modules=(_UNIT,)),
}
