"""Manifests with a tuning in them."""

from __future__ import annotations

import msgspec

from ingrain.repository.manifest import Graph, Manifest, StoredFile, TextPreprocess
from ingrain.repository.tuning import Execution, GraphTuning, Layout, Machine, Tuning
from ingrain.tuning.machine import TuningMachine, graphs_digest

CHOSEN = Execution(layout=Layout(1, 2), max_items=64, max_tokens=1024, overhead_tokens=40)


def manifest() -> Manifest:
    """Return the manifest of a model of one text graph."""
    files = (StoredFile(path="1/model.onnx", size_bytes=9, sha256="abc"),)
    return Manifest(
        name="org/model",
        library="sentence_transformers",
        architecture="Fake",
        created_at="2026-11-25T00:00:00Z",
        versions={},
        embedding_size=8,
        graphs=(Graph(name="g.text_encoder", role="text_encoder", inputs=(), outputs=(), files=files),),
        text=TextPreprocess(max_tokens=32),
    )


def tuned(
    place: TuningMachine,
    *,
    machine: Machine | None = None,
    given: dict[str, int] | None = None,
    chosen: Execution = CHOSEN,
) -> Manifest:
    """Return that manifest with a tuning."""
    plain = manifest()
    tuning = Tuning(
        machine=machine or place.machine,
        graphs_sha256=graphs_digest(plain),
        given=given or {},
        tuned_at="2026-11-25T00:00:00+00:00",
        seconds=30.0,
        graphs=(GraphTuning(role="text_encoder", default=place.default, chosen=chosen, ratio=1.2),),
    )
    return msgspec.structs.replace(plain, tunings=(tuning,))
