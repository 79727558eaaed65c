"""Converts small models with a vector for each token where torch is, and computes what the source library gives."""

from pathlib import Path

import numpy as np

from ingrain.export.process.job import ExportJob
from ingrain.vocabulary import Task

TEXTS = [
    "the river",
    "",
    "coffee in Berlin, 🙂 東京; " * 4,
    "a much longer text about old stone houses " * 30,
    "x",
    "old houses: stone, and a river.",
]


def convert_multi_vector(name: str, folder: Path) -> None:
    """Build a model of ``MULTI_VECTOR``; ``output`` gets what was published, ``expected.npz`` the source's results.

    They are the vectors of each of ``TEXTS`` as a query and as a document, and the scores of all documents for all
    queries.
    """
    from tiny_multi_vector import MULTI_VECTOR

    MULTI_VECTOR[name](folder / "models" / "model")
    _export(folder, None)
    import torch
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder / "models" / "model"), device="cpu", model_kwargs={"dtype": torch.float32})
    queries = [model.encode_query(text, convert_to_numpy=True) for text in TEXTS]
    documents = [model.encode_document(text, convert_to_numpy=True) for text in TEXTS]
    np.savez(
        folder / "expected.npz",
        scores=model.similarity(queries, documents).numpy(),
        **{f"query {place}": vectors for place, vectors in enumerate(queries)},
        **{f"document {place}": vectors for place, vectors in enumerate(documents)},
    )


def convert_tokens(folder: Path) -> None:
    """Build a small embedding model, and publish the vectors of its tokens; ``expected.npz`` has the source's."""
    from tiny_models import build_family

    build_family("MPNet", folder / "models" / "model")
    _export(folder, "embed_tokens")
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / "models" / "model"), device="cpu", model_kwargs={"dtype": torch.float32})
    vectors = [model.encode(text, output_value="token_embeddings").numpy() for text in TEXTS]
    np.savez(folder / "expected.npz", **{f"document {place}": one for place, one in enumerate(vectors)})


def _export(folder: Path, task: Task | None) -> None:
    from ingrain.export.process.worker import run_job

    (folder / "output").mkdir()
    job = ExportJob(
        name="model",
        library="sentence_transformers",
        output=str(folder / "output"),
        local_models_dir=str(folder / "models"),
        task=task,
    )
    run_job(job, lambda _: None)
