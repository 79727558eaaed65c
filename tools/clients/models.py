"""Makes the models that the clients ask for, and serves them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from processes import MINILM, ServerProcess, place_minilm, serve
from tiny_clip import build_tiny_clip
from tiny_scorers import build_classifier, build_cross_encoder
from tiny_sparse import build_splade

KEY = "key-of-the-clients"
MAX_REQUESTS = 64
NAMES = {
    "dense": MINILM,
    "reranker": "small-reranker",
    "sparse": "small-splade",
    "clip": "small-clip",
    "classifier": "small-classifier",
}


@contextmanager
def serving_all(folder: Path, **variables: str) -> Iterator[ServerProcess]:
    """Serve one model of each kind; they are converted at the first time.

    Args:
        folder: Folder for the models and their repository.
        variables: Further settings of the server.
    """
    models = folder / "models"
    if not models.exists():
        _build(models)
    names = [f"open_clip:{name}" if kind == "clip" else name for kind, name in NAMES.items()]
    settings = {
        "INGRAIN_API_KEYS": KEY,
        "INGRAIN_ENGINE": "onnxruntime",
        "INGRAIN_MAX_REQUESTS": str(MAX_REQUESTS),
        "INGRAIN_DEFAULT_MODELS": ",".join(NAMES.values()),
        # LlamaIndex' integration of Cohere accepts only Cohere's names.
        "INGRAIN_MODEL_ALIASES": f"embed-english-v3.0={NAMES['dense']}",
        **variables,
    }
    with serve(folder, f"--local-models-dir={models}", f"--models={','.join(names)}", **settings) as server:
        server.wait_until(lambda: httpx.get(f"{server.inference}/ready", timeout=10).status_code == 200, 900)
        yield server


def _build(folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    place_minilm(folder)
    build_cross_encoder(folder / NAMES["reranker"], seed=3)
    build_splade(folder / NAMES["sparse"])
    build_tiny_clip("CLIP, ViT", folder / NAMES["clip"])
    build_classifier(folder / NAMES["classifier"], seed=4)
