"""Small cross-encoders and text classifiers with random weights, built on the spot; nothing comes from a hub."""

from __future__ import annotations

import json
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


def files_of(folder: Path) -> dict[str, Any]:
    """Return the folder's JSON files, for a look at what the library has written."""
    return {file.name: json.loads(file.read_text()) for file in folder.glob("*.json")}
