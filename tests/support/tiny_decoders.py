"""Small rerankers that are decoders, with random weights, built on the spot; nothing comes from a hub.

Their chat templates have the places and the roles of the published ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tiny_families import FAMILIES, Family
from tiny_models import prepare_libraries, randomize, small_config
from tiny_tokenizers import build_tokenizer

MAX_TOKENS = 192
_ADDED = ("<|im_start|>", "<|im_end|>")

QWEN_TEMPLATE = """\
{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") \
| first | default("Find what answers the query") -%}
{%- set query_text = messages | selectattr("role", "eq", "query") | map(attribute="content") | first -%}
{%- set document_text = messages | selectattr("role", "eq", "document") | map(attribute="content") | first -%}
<|im_start|>system
Answer "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: {{ instruction }}
<Query>: {{ query_text }}
<Document>: {{ document_text }}<|im_end|>
<|im_start|>assistant
<think>

</think>


"""
"""As Qwen3-Reranker's: an instruction, of the system message or the template's own."""

MXBAI_TEMPLATE = """\
<|im_start|>user
query: {{ (messages | selectattr("role", "eq", "query") | first).content | trim }}
document: {{ (messages | selectattr("role", "eq", "document") | first).content | trim }}
Relevance:<|im_end|>
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""As mxbai-rerank-v2's: texts without white space around them, an answer that is begun on request, no instruction."""

GEMMA_TEMPLATE = """\
{{ bos_token }}A: {{ (messages | selectattr("role", "eq", "query") | first).content[0].text }}
B: {{ (messages | selectattr("role", "eq", "document") | first).content[0].text }}
{% set system = messages | selectattr("role", "eq", "system") | list %}\
{{ system[0].content[0].text if system else "Does the passage answer the query?" }}"""
"""As bge-reranker-v2-gemma's: a prompt behind the texts, so that it belongs to the end which a long pair keeps."""

NEMOTRON_TEMPLATE = """\
question:{{ (messages | selectattr("role", "eq", "query") | first).content }}

passage:{{ (messages | selectattr("role", "eq", "document") | first).content }}"""
"""As llama-nemotron-rerank's, which has a score head."""


def build_decoder(
    folder: Path, family: Family | str = "Qwen3", *, template: str | None = None, tied: bool = False, seed: int = 0
) -> Path:
    """Build a plain transformers folder of a causal language model, whose tokenizer knows "yes" and "no".

    Args:
        folder: Where it goes.
        family: The architecture, or its key in ``FAMILIES``.
        template: The chat template; None for none.
        tied: True if the last layer has the weights of the first.
        seed: Seed of the weights.
    """
    prepare_libraries()
    import torch
    from transformers import AutoModelForCausalLM

    kind = FAMILIES[family] if isinstance(family, str) else family
    tokenizer = build_tokenizer(kind.tokenizer, kind.template, padding_side=kind.padding_side, max_tokens=MAX_TOKENS)
    tokenizer.add_tokens(["yes", "no", "Yes"])
    tokenizer.add_special_tokens({"additional_special_tokens": list(_ADDED)})
    tokenizer.chat_template = template
    settings = small_config(kind, tokenizer)
    settings.max_position_embeddings = MAX_TOKENS
    settings.tie_word_embeddings = tied
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(settings)
        randomize(network)
    network.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def build_logit_scorer(
    folder: Path,
    family: Family | str = "Qwen3",
    *,
    template: str | None = QWEN_TEMPLATE,
    true: str = "yes",
    false: str | None = "no",
    tied: bool = False,
    prompts: dict[str, str] | None = None,
    default_prompt_name: str | None = None,
    activation: str | None = None,
    seed: int = 0,
    **transformer: Any,
) -> Path:
    """Build a folder as ``CrossEncoder.save`` writes it, of a decoder that scores by a token's logit.

    Args:
        folder: Where it goes.
        family: As in ``build_decoder``.
        template: As in ``build_decoder``.
        true: The token that says yes.
        false: The token that says no; None for none.
        tied: As in ``build_decoder``.
        prompts: The model's prompts, which are instructions.
        default_prompt_name: The prompt used when none is named.
        activation: Name of a class of ``torch.nn``; None for the library's default.
        seed: Seed of the weights.
        **transformer: Further arguments of the ``Transformer`` module (``processing_kwargs``).
    """
    plain = folder.with_name(f"{folder.name}.network")
    build_decoder(plain, family, template=template, tied=tied, seed=seed)
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import LogitScore, Transformer

    first = Transformer(str(plain), transformer_task="text-generation", **transformer)
    ids = [None if token is None else first.tokenizer.convert_tokens_to_ids(token) for token in (true, false)]
    model = CrossEncoder(
        modules=[first, LogitScore(true_token_id=ids[0], false_token_id=ids[1])],
        device="cpu",
        prompts=prompts,
        default_prompt_name=default_prompt_name,
        activation_fn=getattr(torch.nn, activation)() if activation else None,
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def build_scorer_with_template(folder: Path) -> Path:
    """Build a plain folder of a decoder with a score head, whose tokenizer has a chat template for pairs."""
    from tiny_scorers import build_classifier

    build_classifier(folder, "Llama")
    (folder / "chat_template.jinja").write_text(NEMOTRON_TEMPLATE, encoding="utf-8")
    return folder


_ANSWER = {"chat_template": {"add_generation_prompt": True}}
_WEB = {"web": "Given a web search query, find passages that answer it"}

Build = Callable[[Path], Path]

LOGIT_SCORERS: dict[str, Build] = {
    "Qwen3, yes and no, instructions (Qwen3-Reranker)": partial(
        build_logit_scorer, tied=True, prompts=_WEB, default_prompt_name="web"
    ),
    "Qwen3, yes alone (zerank-2)": partial(build_logit_scorer, false=None, activation="Identity"),
    "Qwen2, one and zero (mxbai-rerank-v2)": partial(
        build_logit_scorer, family="Qwen2", template=MXBAI_TEMPLATE, true="1", false="0", processing_kwargs=_ANSWER
    ),
    "Gemma, yes alone, prompt at the end (bge-reranker-v2-gemma)": partial(
        build_logit_scorer, family="Gemma", template=GEMMA_TEMPLATE, true="Yes", false=None, tied=True
    ),
    "Gemma 2, logits with a soft limit": partial(build_logit_scorer, family="Gemma2", template=GEMMA_TEMPLATE),
    "Llama without a chat template": partial(build_logit_scorer, family="Llama", template=None),
    "Llama with a score head and a chat template (llama-nemotron-rerank)": build_scorer_with_template,
    "Qwen3, plain folder": partial(build_decoder, template=QWEN_TEMPLATE),
}
"""Rerankers that are decoders, and what their structure is known from."""

MORE_LOGIT_SCORERS: dict[str, Build] = {
    "Qwen3 MoE": partial(build_logit_scorer, family="Qwen3 MoE"),
    "Mistral, sliding window": partial(build_logit_scorer, family="Mistral, sliding window"),
    "Granite, logits with a scale": partial(build_logit_scorer, family="Granite"),
    "GPT-2, positions that padding moves": partial(build_logit_scorer, family="GPT-2"),
}
"""Rerankers of other decoders, for the tables of compatibility alone."""
