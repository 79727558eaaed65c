"""The family of sentence-transformers models with one dense vector per text."""

from __future__ import annotations

from pathlib import Path

from ingrain.export.families.protocol import Family, LoadableFolder, Report, Source, WeightFiles
from ingrain.export.families.sentence_transformers.remote_code import prepare_folder, refuse_untrusted_code
from ingrain.export.precision.choose import refuse_int8
from ingrain.export.process.job import ExportJob
from ingrain.sources.model_source import ResolvedSource
from ingrain.sources.open_clip import LINKED_FOLDER


def _open(job: ExportJob, folder: Path) -> Source:
    from ingrain.export.families.sentence_transformers.checkpoint import inspect
    from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource

    trusted = bool(job.trust_remote_code)
    source = SentenceTransformersSource(
        inspect(folder, trust_remote_code=trusted), name=job.name, trust_remote_code=trusted
    )
    if source.is_static:
        refuse_int8(job.precision, "A static embedding model is a table of vectors")
    return source


def _prepare_folder(job: ExportJob, source: ResolvedSource, report: Report) -> LoadableFolder:
    return prepare_folder(job, source, Path(job.output) / LINKED_FOLDER, report)


FAMILIES = (
    Family(
        library="sentence_transformers",
        weights=WeightFiles(
            names=(
                "model.safetensors",
                "model.safetensors.index.json",
                "pytorch_model.bin",
                "pytorch_model.bin.index.json",
            ),
        ),
        open=_open,
        refuse_untrusted_code=refuse_untrusted_code,
        prepare_folder=_prepare_folder,
    ),
)
