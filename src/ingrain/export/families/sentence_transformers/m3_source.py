"""Loads, describes and proves models of FlagEmbedding's M3 kind: dense, sparse and several vectors of one network."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.export.families.protocol import Description, TowerHead
from ingrain.export.families.sentence_transformers.checkpoint import inspect
from ingrain.export.families.sentence_transformers.m3_checkpoint import MULTI_VECTOR_FILE, SPARSE_FILE
from ingrain.export.families.sentence_transformers.m3_graph import M3Graph, M3Heads
from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource
from ingrain.export.model_files import unsupported
from ingrain.export.onnx.active_entries import INDICES, VALUES
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.compare import References
from ingrain.export.proof.sparse_references import SparseReferences
from ingrain.export.proof.text_references import TextReferences
from ingrain.export.proof.token_references import TokenReferences, token_rows
from ingrain.export.weights.independent_load import PROBES
from ingrain.export.weights.pickled_weights import read_tensors
from ingrain.preprocess.token_vectors import skip_tokens

_SPECIAL = ("cls_token_id", "eos_token_id", "pad_token_id", "unk_token_id")
_SKIPPED_TOKENS = 1  # FlagEmbedding leaves out the vector of the first token, which is the dense one

Floats = NDArray[np.float32]


class M3Source(SentenceTransformersSource):
    """A loaded model with three outputs."""

    _last_asked: tuple[object, list[tuple[NDArray[np.int64], tuple[Floats, Floats]]]] = (None, [])

    def read_model(self, networks: list[Any]) -> Any:
        """Have the library load the model in float32, and load the heads.

        A folder without ``modules.json``, as FlagEmbedding saves it, has the dense vector that FlagEmbedding gives: the
        first token's, at unit length.
        """
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize
        from sentence_transformers.sentence_transformer.modules import Pooling

        model = super().read_model(networks)
        first = model[0]
        width = int(first.get_embedding_dimension())
        if not self._checkpoint.modules:
            model = SentenceTransformer(modules=[first, Pooling(width, pooling_mode="cls"), Normalize()], device="cpu")
        tokenizer = first.tokenizer
        special = {getattr(tokenizer, name) for name in _SPECIAL} - {None}
        self.heads = M3Heads(
            _read_linear(self._checkpoint.folder / SPARSE_FILE, width, 1),
            _read_linear(self._checkpoint.folder / MULTI_VECTOR_FILE, width, None),
            tuple(sorted(special)),
        ).eval()
        return model

    def probe(self) -> list[Floats]:
        """Return the vectors of two texts, and the outputs of the heads."""
        features = self.model[0].preprocess(list(PROBES))
        return [*super().probe(), *self._run_heads(features["input_ids"].numpy(), features["attention_mask"].numpy())]

    def describe(self, folder: Path) -> Description:
        """Write the serving tokenizer, and describe the tower with its heads.

        Raises:
            UnsupportedModelError: A module or the tokenizer is not supported.
        """
        plain = super().describe(folder)
        if len(plain.towers) > 1 or self.is_static:
            raise unsupported(f"A model with {SPARSE_FILE} must be a network of texts alone.")
        (tower,) = plain.towers
        heads = (
            TowerHead(role="sparse_encoder", outputs=(VALUES, INDICES), ask=self._ask_weights),
            TowerHead(
                role="multi_vector_encoder",
                outputs=("token_embeddings",),
                ask=self._ask_vectors,
                skipped_tokens=_SKIPPED_TOKENS,
            ),
        )
        candidates = tuple(
            replace(candidate, build=partial(self._build, candidate.build)) for candidate in tower.candidates
        )
        return replace(
            plain,
            towers=(replace(tower, candidates=candidates, heads=heads),),
            has_token_dimensions=True,
            late_interaction="meanmaxsim",
        )

    def _build(self, build: Any, model: Any) -> M3Graph:
        return M3Graph(build(model), self.heads)

    def _run_heads(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return the weights and the vectors of tokens, float32 ``[B, T]`` and ``[B, T, D]``."""
        import torch

        given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        with torch.inference_mode():
            tokens = self.model[0](dict(given))["token_embeddings"]
            weights, _, vectors = self.heads(tokens, *given.values())
        return weights.numpy(), vectors.numpy()

    def _ask_weights(self, texts: References) -> SparseReferences:
        assert isinstance(texts, TextReferences)
        rows = np.zeros((len(texts.items), len(self.model[0].tokenizer)), np.float32)
        for row, (ids, (weights, _)) in zip(rows, self._each(texts), strict=True):
            np.maximum.at(row, ids[0], weights[0])
        return SparseReferences.of(replace(texts, expected=rows))

    def _ask_vectors(self, texts: References) -> TokenReferences:
        assert isinstance(texts, TextReferences)
        given = {field.name: getattr(texts, field.name) for field in fields(TextReferences)}
        items = tuple(skip_tokens(item, _SKIPPED_TOKENS) for item in texts.items)
        rows = [vectors[0, _SKIPPED_TOKENS:] for _, (_, vectors) in self._each(texts)]
        return TokenReferences(**(given | {"items": items, "expected": token_rows(rows)}))

    def _each(self, texts: TextReferences) -> list[tuple[NDArray[np.int64], tuple[Floats, Floats]]]:
        """Return the ids of each text, int64 ``[1, T]``, and the outputs of the heads; both heads ask for the same."""
        asked, found = self._last_asked
        if asked is not texts.items:
            batches = [texts.arrays([number], ("input_ids", "attention_mask")) for number in range(len(texts.items))]
            found = [(batch["input_ids"], self._run_heads(*batch.values())) for batch in batches]
            self._last_asked = texts.items, found
        return found


def open_source(job: ExportJob, folder: Path) -> M3Source:
    """Check and load a folder.

    Raises:
        UnsupportedModelError: The model cannot be converted.
    """
    trusted = bool(job.trust_remote_code)
    return M3Source(inspect(folder, trust_remote_code=trusted), name=job.name, trust_remote_code=trusted)


def _read_linear(path: Path, width: int, out: int | None) -> Any:
    """Read a linear layer in float32.

    Args:
        path: File with the layer's ``weight`` and ``bias``.
        width: Width of the network's vectors.
        out: Width of the result; None for what the file has.
    """
    from torch import nn

    tensors = read_tensors(path)
    weight = tensors.get("weight")
    if weight is None or weight.ndim != 2 or set(tensors) - {"weight", "bias"}:
        raise unsupported(f"The model's {path.name!r} does not hold the weight and bias of one linear layer.")
    shape = (len(weight) if out is None else out, width)
    if tuple(weight.shape) != shape or ("bias" in tensors and tuple(tensors["bias"].shape) != shape[:1]):
        raise unsupported(
            f"The model's {path.name!r} has a weight of the shape {tuple(weight.shape)}; its network needs {shape}."
        )
    layer = nn.Linear(width, shape[0], bias="bias" in tensors)
    layer.load_state_dict(tensors)
    return layer.requires_grad_(False)
