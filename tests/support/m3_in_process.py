"""Converts a small model of BGE-M3's kind where torch is, and computes what FlagEmbedding's formulas give."""

from pathlib import Path

import numpy as np

from ingrain.export.process.job import ExportJob

TEXTS = [
    "the river",
    "",
    "coffee in Berlin, 🙂 東京; " * 4,
    "a much longer text about old stone houses " * 30,
    "x",
    "stone stone </s> river, <s> stone <unk>",
    "old houses: stone, and a river.",
]


def convert_m3(folder: Path, **options: object) -> None:
    """Build a small model as FlagEmbedding saves it, without ``modules.json``.

    ``output`` gets what was published, ``expected.npz`` the outputs of ``reference``.
    """
    from ingrain.export.process.worker import run_job
    from tiny_m3 import TOKEN_WIDTH, build_m3

    build_m3(folder / "models" / "model", token_width=TOKEN_WIDTH, has_modules=False)
    (folder / "output").mkdir()
    job = ExportJob(
        name="model",
        library="sentence_transformers",
        output=str(folder / "output"),
        local_models_dir=str(folder / "models"),
        **options,  # type: ignore[arg-type]
    )
    run_job(job, lambda _: None)
    np.savez(folder / "expected.npz", **reference(folder / "models" / "model"))


def reference(folder: Path) -> dict[str, np.ndarray]:
    """Compute the outputs of ``TEXTS`` as ``BGEM3FlagModel`` of FlagEmbedding 1.4 does.

    Returns:
        ``dense`` ``[N, D]``, ``sparse`` ``[N, V]``, the vectors of text 3 as ``tokens 3``, and the ``scores``
        of all documents for all queries.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).float().eval()
    heads = [torch.load(folder / f"{name}_linear.pt", weights_only=True) for name in ("sparse", "colbert")]
    (sparse_weight, sparse_bias), (weight, bias) = [(head["weight"].float(), head["bias"].float()) for head in heads]
    special = {tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    dense, sparse, tokens = [], [], []
    for text in TEXTS:
        inputs = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.no_grad():
            hidden = network(**inputs).last_hidden_state[0]
        dense.append(torch.nn.functional.normalize(hidden[0], dim=0).numpy())
        weights = np.zeros(len(tokenizer), np.float32)
        for token, one in zip(inputs["input_ids"][0].tolist(), hidden @ sparse_weight[0] + sparse_bias, strict=True):
            if token not in special:
                weights[token] = max(weights[token], float(one))
        sparse.append(weights)
        tokens.append(torch.nn.functional.normalize(hidden[1:] @ weight.T + bias, dim=-1).numpy())
    scores = [[(query @ document.T).max(axis=1).mean() for document in tokens] for query in tokens]
    return {
        "dense": np.stack(dense),
        "sparse": np.stack(sparse),
        "scores": np.array(scores, np.float32),
        **{f"tokens {place}": vectors for place, vectors in enumerate(tokens)},
    }


def damage_head(path: Path, damage: str) -> None:
    """Make a head too narrow (``width``), give its tensors other ``names``, or replace it by ``garbage``."""
    import torch

    tensors = torch.load(path, weights_only=True)
    if damage == "garbage":
        path.write_bytes(b"no pickle")
        return
    changed = {"width": {**tensors, "weight": tensors["weight"][:, 1:].clone()}, "names": {"kernel": tensors["weight"]}}
    torch.save(changed[damage], path)
