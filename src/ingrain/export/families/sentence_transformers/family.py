"""The family of sentence-transformers models: embedding models, rerankers and the library's other kinds."""

from __future__ import annotations

import importlib
from pathlib import Path

from ingrain.export.families.protocol import Family, LoadableFolder, Report, Source, WeightFiles
from ingrain.export.families.sentence_transformers.remote_code import prepare_folder, refuse_untrusted_code
from ingrain.export.process.job import ExportJob
from ingrain.sources.model_source import ResolvedSource
from ingrain.sources.open_clip import LINKED_FOLDER


def _open(job: ExportJob, folder: Path) -> Source:
    from ingrain.export.families.sentence_transformers.kinds import source_module

    module = importlib.import_module(source_module(folder, job.task, reads_pickles=job.pickled_weights))
    source: Source = module.open_source(job, folder)
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
