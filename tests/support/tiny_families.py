"""The architectures that sentence-transformers users load, each small enough to build and export in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tiny_tokenizers import Kind, Template

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How to build a small model of one architecture.

    Attributes:
        model_type: transformers' word for it.
        config: What differs from the common small sizes.
        tokenizer: Kind of tokenizer.
        template: Special tokens around a text.
        padding_side: Side of padding.
        token_type_ids: True where the tokenizer makes them.
        pooling: Pooling on top.
        refused: True where the export must be refused.
    """

    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    tokenizer: Kind = "wordpiece"
    template: Template = "cls_sep"
    padding_side: Literal["right", "left"] = "right"
    token_type_ids: bool = False
    pooling: Pooling = "mean"
    refused: bool = False


def _encoder(model_type: str, **config: Any) -> Family:
    return Family(model_type=model_type, config=config)


def _bert(model_type: str, **config: Any) -> Family:
    return Family(model_type=model_type, config=config, token_type_ids=True)


def _roberta(model_type: str, **config: Any) -> Family:
    kind: Kind = "roberta" if model_type in ("roberta", "data2vec-text") else "unigram"
    return Family(model_type=model_type, config=config, tokenizer=kind, template="bos_eos")


def _t5(model_type: str, **config: Any) -> Family:
    return Family(model_type=model_type, config=config, tokenizer="unigram", template="eos")


def _decoder(model_type: str, side: Literal["right", "left"] = "left", **config: Any) -> Family:
    return Family(
        model_type=model_type,
        config=config,
        tokenizer="bytes",
        template="eos",
        padding_side=side,
        pooling="lasttoken",
    )


_SHORT: dict[str, Any] = {"sliding_window": 16}  # far below the longest text, so that a wrong window shows
_QWEN_MOE: dict[str, Any] = {"moe_intermediate_size": 48, "decoder_sparse_step": 1}
_QWEN2_SHARED: dict[str, Any] = {"shared_expert_intermediate_size": 48}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"}

FAMILIES: dict[str, Family] = {
    "BERT": _bert("bert"),
    "DistilBERT": _encoder("distilbert", hidden_dim=64),
    "RoBERTa": _roberta("roberta"),
    "RoBERTa pre-layer-norm": _roberta("roberta-prelayernorm"),
    "XLM-RoBERTa": _roberta("xlm-roberta"),
    "XLM-RoBERTa-XL": _roberta("xlm-roberta-xl"),
    "CamemBERT": _roberta("camembert"),
    "Data2VecText": _roberta("data2vec-text"),
    "X-MOD": _roberta("xmod", languages=["en_XX"], default_language="en_XX"),
    "MPNet": _roberta("mpnet"),
    "ALBERT": _bert("albert", embedding_size=16),
    "ELECTRA": _bert("electra", embedding_size=16),
    "ERNIE": _bert("ernie", task_type_vocab_size=3),
    "DeBERTa": _bert("deberta", relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False),
    "DeBERTa-v2": _bert(
        "deberta-v2",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
    ),
    "ModernBERT": _encoder(
        "modernbert", num_hidden_layers=4, global_attn_every_n_layers=2, local_attention=16, reference_compile=False
    ),
    "NomicBERT": _bert("nomic_bert"),
    "JinaEmbeddingsV3": _roberta("jina_embeddings_v3"),
    "EuroBERT": Family(model_type="eurobert", tokenizer="bytes", template="bos_eos"),
    "GTE": _roberta("gte"),
    "UltraBERT": Family(model_type="ultrabert", config={"sliding_window": 16}, tokenizer="bytes", template="bos_eos"),
    "MobileBERT": _bert("mobilebert", embedding_size=16, intra_bottleneck_size=16, num_feedforward_networks=2),
    "ConvBERT": _bert("convbert", embedding_size=16, conv_kernel_size=3),
    "SqueezeBERT": _bert("squeezebert", embedding_size=32, q_groups=2, k_groups=2, v_groups=2),
    "RoFormer": _bert("roformer", embedding_size=16),
    "RemBERT": _bert("rembert", input_embedding_size=16, output_embedding_size=16),
    "MegatronBERT": _bert("megatron-bert"),
    "LUKE": _roberta("luke", entity_vocab_size=10, entity_emb_size=16),
    "BigBird (full attention)": _bert("big_bird", attention_type="original_full"),
    "BERT generation": _roberta("bert-generation"),
    "RoCBert": _bert("roc_bert", pronunciation_vocab_size=50, shape_vocab_size=50),
    "Splinter": _bert("splinter"),
    "I-BERT": _roberta("ibert", quant_mode=False),
    "Flaubert": _roberta("flaubert", emb_dim=32, n_layers=2, n_heads=4),
    "XLM": _roberta("xlm", emb_dim=32, n_layers=2, n_heads=4),
    "ESM": _encoder("esm", position_embedding_type="rotary", mask_token_id=4, token_dropout=False),
    "FNet": _bert("fnet", use_tpu_fourier_optimizations=False),
    "T5 encoder": _t5("t5", **_T5),
    "mT5 encoder": _t5("mt5", **_T5),
    "UMT5 encoder": _t5("umt5", **_T5),
    "M2M100 encoder": _roberta("m2m_100", d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64),
    "XLNet": Family(
        model_type="xlnet",
        config={"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
        tokenizer="unigram",
        template="sep_cls",
        padding_side="left",
        token_type_ids=True,
    ),
    "Llama": _decoder("llama"),
    "Llama, right padding": _decoder("llama", "right"),
    "Mistral": _decoder("mistral"),
    "Mistral, sliding window": _decoder("mistral", **_SHORT),
    "Ministral": _decoder("ministral", head_dim=8, **_SHORT),
    "Mixtral": _decoder("mixtral", num_local_experts=4, num_experts_per_tok=2, **_SHORT),
    "Qwen2 MoE": _decoder("qwen2_moe", num_experts=4, num_experts_per_tok=2, **_QWEN_MOE, **_QWEN2_SHARED),
    "Qwen3 MoE": _decoder("qwen3_moe", head_dim=8, num_experts=4, num_experts_per_tok=2, **_QWEN_MOE),
    "OLMoE": _decoder("olmoe", num_experts=4, num_experts_per_tok=2),
    "GPT-OSS": _decoder("gpt_oss", head_dim=8, num_local_experts=4, num_experts_per_tok=2, **_SHORT),
    "Phi": _decoder("phi"),
    "Phi3": _decoder("phi3"),
    "Qwen2": _decoder("qwen2"),
    "Qwen3": _decoder("qwen3", head_dim=8),
    "Qwen3, right padding": _decoder("qwen3", "right", head_dim=8),
    "Qwen3, bidirectional": _decoder("qwen3", head_dim=8, is_causal=False),
    "Gemma": _decoder("gemma", head_dim=8),
    "Gemma2": _decoder("gemma2", head_dim=8, query_pre_attn_scalar=8, **_SHORT),
    "Gemma3": _decoder("gemma3_text", head_dim=8, query_pre_attn_scalar=8, **_SHORT),
    "EmbeddingGemma": Family(
        model_type="gemma3_text",
        config={
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "use_bidirectional_attention": True,
            "layer_types": ["sliding_attention", "full_attention"],
            **_SHORT,
        },
        tokenizer="unigram",
        template="bos_eos",
    ),
    "EmbeddingGemma2 text": Family(
        model_type="embedding_gemma2_text",
        config={"head_dim": 8, "hidden_size_per_layer_input": 8, "embedding_dim": 32, **_SHORT},
        tokenizer="unigram",
        template="bos_eos",
    ),
    "ModernBERT decoder": _decoder("modernbert-decoder", "right", local_attention=16),
    "Granite": _decoder("granite"),
    "OLMo2": _decoder("olmo2"),
    "SmolLM3": _decoder("smollm3"),
    "StableLM": _decoder("stablelm"),
    "GLM": _decoder("glm", head_dim=8),
    "Cohere": _decoder("cohere"),
    "Falcon": _decoder("falcon", new_decoder_architecture=False, alibi=False),
    "BLOOM": _decoder("bloom", n_layer=2, n_head=4),
    "OPT": _decoder("opt", "right", ffn_dim=64, word_embed_proj_dim=32),
    "GPT-NeoX": _decoder("gpt_neox"),
    "GPT-2": _decoder("gpt2", "right", n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "GPT-2, left padding": _decoder("gpt2", "left", n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "Longformer": Family(
        model_type="longformer",
        config={"attention_window": [16, 16]},
        tokenizer="roberta",
        template="bos_eos",
    ),
    "Funnel": Family(
        model_type="funnel",
        config={
            "architectures": ["FunnelModel"],
            "block_sizes": [1, 1],
            "block_repeats": [1, 1],
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 64,
        },
        token_type_ids=True,
        refused=True,
    ),
}
