"""Converts small sparse encoders where torch is, and computes what the source library gives."""

from pathlib import Path

import numpy as np

from ingrain.export.process.job import ExportJob

TEXTS = [
    "the river",
    "",
    "coffee in Berlin 🙂 東京 " * 4,
    "a much longer text about old stone houses " * 30,
    "x",
    "stone stone river",
    "old houses",
]
KINDS = {"query": "query", "document": "document", "none": None}


def convert_sparse(name: str, folder: Path, **options: object) -> None:
    """Build a sparse encoder of ``SPARSE``; ``output`` gets what was published, ``expected.npz`` the source's rows.

    The rows are float32 ``[N, V]`` for ``TEXTS``: as ``encode_query``, ``encode_document`` and ``encode`` give them.
    """
    from ingrain.export.process.worker import run_job
    from tiny_sparse import SPARSE

    SPARSE[name](folder / "models" / "model")
    (folder / "output").mkdir()
    job = ExportJob(
        name="model",
        library="sentence_transformers",
        output=str(folder / "output"),
        local_models_dir=str(folder / "models"),
        **options,  # type: ignore[arg-type]
    )
    run_job(job, lambda _: None)
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder / "models" / "model"), device="cpu")
    ways = {"query": model.encode_query, "document": model.encode_document, "none": model.encode}
    rows = {kind: encode(TEXTS, batch_size=1, convert_to_sparse_tensor=False).numpy() for kind, encode in ways.items()}
    np.savez(folder / "expected.npz", **rows)
