"""Small cross-encoders and text classifiers with random weights, built on the spot; nothing comes from a hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tiny_families import FAMILIES, Family
from tiny_models import MAX_TOKENS, prepare_libraries, randomize, small_config
from tiny_tokenizers import build_tokenizer

NLI = ("contradiction", "entailment", "neutral")


def build_classifier(
    folder: Path,
    family: Family | str = "BERT",
    *,
    labels: tuple[str, ...] | int = 1,
    problem_type: str | None = None,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Build a plain transformers folder of a sequence classification.

    Args:
        folder: Where it goes.
        family: The architecture, or its key in ``FAMILIES``.
        labels: Names of the classes, or their number.
        problem_type: As in transformers' configuration.
        seed: Seed of the weights.
        **config: What else goes into the configuration.
    """
    prepare_libraries()
    import torch
    from transformers import AutoModelForSequenceClassification

    kind = FAMILIES[family] if isinstance(family, str) else family
    tokenizer = build_tokenizer(
        kind.tokenizer,
        kind.template,
        padding_side=kind.padding_side,
        token_type_ids=kind.token_type_ids,
        max_tokens=MAX_TOKENS,
    )
    settings = small_config(kind, tokenizer)
    names = labels if isinstance(labels, tuple) else tuple(f"LABEL_{number}" for number in range(labels))
    settings.id2label = dict(enumerate(names))
    settings.label2id = {name: number for number, name in enumerate(names)}
    settings.problem_type = problem_type
    for name, value in config.items():
        setattr(settings, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModelForSequenceClassification.from_config(settings)
        randomize(network)
    network.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def build_cross_encoder(
    folder: Path,
    family: Family | str = "BERT",
    *,
    labels: tuple[str, ...] | int = 1,
    activation: str | None = None,
    prompts: dict[str, str] | None = None,
    default_prompt_name: str | None = None,
    seed: int = 0,
) -> Path:
    """Build a folder as ``CrossEncoder.save`` writes it.

    Args:
        folder: Where it goes.
        family: As in ``build_classifier``.
        labels: As in ``build_classifier``.
        activation: Name of a class of ``torch.nn``; None for the library's default.
        prompts: The model's prompts.
        default_prompt_name: The prompt used when none is named.
        seed: Seed of the weights.
    """
    plain = build_classifier(folder.with_name(f"{folder.name}.network"), family, labels=labels, seed=seed)
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(
        str(plain),
        device="cpu",
        local_files_only=True,
        prompts=prompts,
        default_prompt_name=default_prompt_name,
        activation_fn=getattr(torch.nn, activation)() if activation else None,
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


_BART = Family(
    model_type="bart",
    config={
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
    tokenizer="roberta",
    template="bos_eos",
)
_EMOTIONS = tuple(f"emotion {number}" for number in range(9))
_SENTIMENTS = ("negative", "neutral", "positive")
_SMALL_T5 = replace(FAMILIES["T5 encoder"], model_type="t5", config={**FAMILIES["T5 encoder"].config, "num_layers": 1})

Build = Callable[[Path], Path]

CROSS_ENCODERS: dict[str, Build] = {
    "BERT, identity (ms-marco-MiniLM)": partial(build_cross_encoder, activation="Identity"),
    "BERT, a prompt": partial(build_cross_encoder, prompts={"web": "find: "}, default_prompt_name="web"),
    "BERT, tanh": partial(build_cross_encoder, activation="Tanh"),
    "RoBERTa (stsb-roberta)": partial(build_cross_encoder, family="RoBERTa"),
    "XLM-RoBERTa, plain folder (bge-reranker)": partial(build_classifier, family="XLM-RoBERTa"),
    "ModernBERT, plain folder (gte-reranker)": partial(build_classifier, family="ModernBERT"),
    "DeBERTa-v2 (mxbai-rerank-v1)": partial(build_cross_encoder, family="DeBERTa-v2"),
    "DeBERTa-v2, three scores (nli-deberta-v3)": partial(build_cross_encoder, family="DeBERTa-v2", labels=NLI),
    "ELECTRA (ms-marco-electra)": partial(build_cross_encoder, family="ELECTRA", activation="Identity"),
    "MPNet": partial(build_cross_encoder, family="MPNet"),
    "DistilBERT": partial(build_cross_encoder, family="DistilBERT"),
    "ALBERT": partial(build_cross_encoder, family="ALBERT"),
    "CamemBERT": partial(build_cross_encoder, family="CamemBERT"),
    "Qwen3 with a score head": partial(build_classifier, family="Qwen3"),
    "Llama with a score head": partial(build_classifier, family="Llama"),
}
"""Rerankers, and what their structure is known from."""

CLASSIFIERS: dict[str, Build] = {
    "DistilBERT, two labels (sst-2)": partial(build_classifier, family="DistilBERT", labels=("NEGATIVE", "POSITIVE")),
    "RoBERTa, three labels (twitter-sentiment)": partial(build_classifier, family="RoBERTa", labels=_SENTIMENTS),
    "BERT, several labels at a time (go-emotions)": partial(
        build_classifier, labels=_EMOTIONS, problem_type="multi_label_classification"
    ),
    "BERT, a quantity": partial(build_classifier, labels=1, problem_type="regression"),
    "XLM-RoBERTa, twenty labels (language detection)": partial(build_classifier, family="XLM-RoBERTa", labels=20),
    "BART, inference (bart-large-mnli)": partial(build_classifier, family=_BART, labels=NLI),
    "DeBERTa-v2, inference (mDeBERTa-mnli)": partial(build_classifier, family="DeBERTa-v2", labels=NLI),
    "ModernBERT, inference": partial(build_classifier, family="ModernBERT", labels=("entailment", "not_entailment")),
    "ELECTRA, two labels": partial(build_classifier, family="ELECTRA", labels=2),
    "ALBERT, two labels": partial(build_classifier, family="ALBERT", labels=2),
    "MPNet, five labels": partial(build_classifier, family="MPNet", labels=5),
    "T5, two labels": partial(build_classifier, family=_SMALL_T5, labels=2, decoder_start_token_id=0),
    "XLNet, two labels": partial(build_classifier, family="XLNet", labels=2),
}
"""Text classifiers, and what their structure is known from."""
