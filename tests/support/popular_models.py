"""Sixty of the most used text-embedding repositories of the hub, and what each is made of."""

from __future__ import annotations

from typing import Any

from popular_shapes import (
    CLS,
    GTE,
    LAST,
    MEAN,
    NEW,
    NOMIC,
    POSITIONS,
    UNIT,
    Popular,
    bert,
    decoder,
    dense,
    distilbert,
    mistral,
    modernbert,
    mpnet,
    nomic,
    qwen2,
    remote,
    roberta,
    sizes,
    t5,
    xlm,
)

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
_T5_TAIL = (MEAN, dense(96, bias=False, weights="pickle"), UNIT)

POPULAR: dict[str, Popular] = {
    "sentence-transformers/all-MiniLM-L6-v2": bert(MEAN, UNIT, head=_MINI),
    "sentence-transformers/all-MiniLM-L12-v2": bert(MEAN, UNIT, head=_MINI, layers=4),
    "sentence-transformers/all-mpnet-base-v2": mpnet(MEAN, UNIT),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": bert(
        MEAN, head=_MINI, config={"pad_token_id": 0}, tokenizer="xlm-roberta"
    ),
    "sentence-transformers/paraphrase-multilingual-mpnet-base-v2": xlm(MEAN),
    "sentence-transformers/paraphrase-MiniLM-L6-v2": bert(MEAN, head=_MINI),
    "sentence-transformers/paraphrase-albert-small-v2": Popular(
        config={
            "architectures": ["AlbertModel"],
            "model_type": "albert",
            **sizes(),
            "embedding_size": 32,
            "hidden_act": "gelu_new",
            "inner_group_num": 1,
            "num_hidden_groups": 1,
            "max_position_embeddings": POSITIONS,
            "type_vocab_size": 2,
        },
        tokenizer="albert",
        modules=(MEAN,),
    ),
    "sentence-transformers/multi-qa-MiniLM-L6-cos-v1": bert(MEAN, UNIT, head=_MINI),
    "sentence-transformers/multi-qa-mpnet-base-dot-v1": mpnet(CLS),
    "sentence-transformers/msmarco-distilbert-base-tas-b": distilbert(CLS),
    "sentence-transformers/distiluse-base-multilingual-cased-v2": distilbert(
        MEAN, dense(96, _TANH, weights="pickle"), cased=True
    ),
    "sentence-transformers/LaBSE": bert(CLS, dense(128, _TANH), UNIT, tokenizer="bert-cased"),
    "sentence-transformers/all-distilroberta-v1": roberta(MEAN, UNIT),
    "sentence-transformers/all-roberta-large-v1": roberta(MEAN, UNIT),
    "sentence-transformers/gtr-t5-base": t5(*_T5_TAIL),
    "sentence-transformers/sentence-t5-base": t5(*_T5_TAIL),
    "sentence-transformers/allenai-specter": bert(CLS),
    "BAAI/bge-small-en-v1.5": bert(CLS, UNIT, head=_MINI),
    "BAAI/bge-base-en-v1.5": bert(CLS, UNIT),
    "BAAI/bge-large-en-v1.5": bert(CLS, UNIT, layers=4),
    "BAAI/bge-large-zh-v1.5": bert(CLS, UNIT, **_PICKLED),
    "BAAI/bge-m3": xlm(CLS, UNIT, **_PICKLED),
    "intfloat/e5-small-v2": bert(MEAN, UNIT, head=_MINI),
    "intfloat/e5-large-v2": bert(MEAN, UNIT, layers=4),
    "intfloat/multilingual-e5-small": bert(MEAN, UNIT, head=_MINI, config={"pad_token_id": 0}, tokenizer="xlm-roberta"),
    "intfloat/multilingual-e5-base": xlm(MEAN, UNIT),
    "intfloat/multilingual-e5-large": xlm(MEAN, UNIT),
    "intfloat/multilingual-e5-large-instruct": xlm(MEAN, UNIT, dtype="float16"),
    "intfloat/e5-mistral-7b-instruct": mistral(prompts={"web_search_query": f"{_WEB} ", "sts_query": "Instruct: "}),
    "thenlper/gte-small": bert(MEAN, UNIT, head=_MINI, dtype="float16"),
    "thenlper/gte-large": bert(MEAN, UNIT, dtype="float16"),
    "Alibaba-NLP/gte-multilingual-base": Popular(
        config=NEW | {"rope_theta": 20000, "rope_scaling": {"factor": 8.0, "type": "ntk"}},
        native=GTE,
        modules=(CLS, UNIT),
        tokenizer="xlm-roberta",
    ),
    "Alibaba-NLP/gte-Qwen2-1.5B-instruct": qwen2(LAST, UNIT, prompts={"query": f"{_WEB} "}),
    "Alibaba-NLP/gte-modernbert-base": modernbert(CLS, dtype="float16"),
    "NovaSearch/stella_en_1.5B_v5": qwen2(
        MEAN, dense(64), prompts={"s2p_query": f"{_WEB} ", "s2s_query": "Instruct: Retrieve similar text.\nQuery: "}
    ),
    "Qwen/Qwen3-Embedding-0.6B": decoder(
        "qwen3",
        "Qwen3ForCausalLM",
        LAST,
        UNIT,
        tokenizer="qwen",
        config={
            "head_dim": 128,
            "attention_bias": False,
            "rope_theta": 1000000,
            "sliding_window": None,
            "max_position_embeddings": 512,
            "use_sliding_window": False,
            "max_window_layers": 2,
            "tie_word_embeddings": True,
        },
        prompts={"query": _WEB, "document": ""},
        max_tokens=None,
    ),
    "google/embeddinggemma-300m": decoder(
        "gemma3_text",
        "Gemma3TextModel",
        MEAN,
        dense(256, bias=False),
        dense(64, bias=False),
        UNIT,
        tokenizer="gemma",
        config={
            "head_dim": 64,
            "query_pre_attn_scalar": 64,
            "hidden_activation": "gelu_pytorch_tanh",
            "num_key_value_heads": 1,
            "num_hidden_layers": 3,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "rope_local_base_freq": 10000.0,
            "rope_theta": 1000000.0,
            "use_bidirectional_attention": True,
        },
        prompts={"query": "task: search result | query: ", "document": "title: none | text: "},
        padding_side="right",
        dtype="float32",
    ),
    "nomic-ai/nomic-embed-text-v1": nomic(MEAN, UNIT),
    "nomic-ai/nomic-embed-text-v1.5": nomic(MEAN),
    "nomic-ai/nomic-embed-text-v2-moe": remote(
        NOMIC
        | {
            "activation_function": "gelu",
            "num_experts": 8,
            "moe_top_k": 2,
            "moe_every_n_layers": 2,
            "rotary_emb_base": 10000,
            "type_vocab_size": 1,
            "qkv_proj_bias": True,
            "mlp_fc1_bias": True,
            "mlp_fc2_bias": True,
        },
        MEAN,
        UNIT,
        native=sizes(),
        tokenizer="xlm-roberta",
        prompts={"query": "search_query: ", "passage": "search_document: "},
    ),
    "nomic-ai/modernbert-embed-base": modernbert(
        MEAN, UNIT, prompts={"query": "search_query: ", "document": "search_document: "}
    ),
    "Snowflake/snowflake-arctic-embed-m-v1.5": bert(CLS, UNIT, prompts=_RETRIEVE),
    "Snowflake/snowflake-arctic-embed-l-v2.0": xlm(CLS, UNIT, prompts=_QUERY),
    "Snowflake/snowflake-arctic-embed-m-v2.0": Popular(
        config=NEW
        | {
            "architectures": ["GteModel"],
            "model_type": "gte",
            "auto_map": _SNOW_CODE,
            "rope_theta": 160000,
            "rope_scaling": None,
        },
        tokenizer="xlm-roberta",
        modules=(CLS, UNIT),
        prompts=_QUERY,
    ),
    "mixedbread-ai/mxbai-embed-large-v1": bert(
        CLS, config={"use_cache": False}, prompts=_RETRIEVE | {"passage": ""}, dtype="float16"
    ),
    "mixedbread-ai/mxbai-embed-xsmall-v1": bert(MEAN, head=_MINI, prompts=_RETRIEVE | {"passage": ""}),
    "jinaai/jina-embeddings-v2-base-en": remote(
        bert().config
        | {
            "architectures": ["JinaBertForMaskedLM"],
            "position_embedding_type": "alibi",
            "feed_forward_type": "geglu",
            "emb_pooler": "mean",
            "auto_map": {
                "AutoConfig": f"{_JINA_2}configuration_bert.JinaBertConfig",
                "AutoModel": f"{_JINA_2}modeling_bert.JinaBertModel",
            },
        },
        MEAN,
    ),
    "jinaai/jina-embeddings-v3": remote(
        xlm().config
        | {
            "architectures": ["XLMRobertaModel"],
            "position_embedding_type": "rotary",
            "lora_adaptations": ["retrieval.query", "retrieval.passage"],
            "lora_rank": 4,
            "auto_map": {
                "AutoConfig": f"{_JINA_3}configuration_xlm_roberta.XLMRobertaFlashConfig",
                "AutoModel": f"{_JINA_3}modeling_lora.XLMRobertaLoRA",
            },
        },
        MEAN,
        UNIT,
        tokenizer="xlm-roberta",
        first="custom_st.Transformer",
    ),
    "hkunlp/instructor-large": t5(*_T5_TAIL),
    "facebook/contriever": bert(config={"architectures": ["Contriever"]}, **_PICKLED),
    "princeton-nlp/sup-simcse-bert-base-uncased": bert(**_PICKLED),
    "cambridgeltl/SapBERT-from-PubMedBERT-fulltext": bert(),
    "NeuML/pubmedbert-base-embeddings": bert(MEAN),
    "WhereIsAI/UAE-Large-V1": bert(CLS),
    "avsolatorio/GIST-small-Embedding-v0": bert(CLS, UNIT, head=_MINI),
    "jhgan/ko-sroberta-multitask": roberta(MEAN, tokenizer="bert-korean"),
    "cointegrated/rubert-tiny2": bert(CLS, UNIT, head=26, tokenizer="bert-cased"),
    "ibm-granite/granite-embedding-30m-english": roberta(CLS, UNIT, head=_MINI, dtype="bfloat16"),
    "EuroBERT/EuroBERT-210m": Popular(
        config={
            "architectures": ["EuroBertForMaskedLM"],
            "model_type": "eurobert",
            "auto_map": _EURO_CODE,
            **sizes(),
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
        refused=True,
    ),
    "minishlab/potion-base-8M": Popular(static=True, modules=(UNIT,)),
}
