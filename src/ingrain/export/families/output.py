"""Creates the folders of an export and describes their contents as a manifest."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ingrain import __version__
from ingrain.export.families.protocol import Description
from ingrain.export.process.job import ExportJob
from ingrain.repository.checksums import describe_file
from ingrain.repository.manifest import Graph, Head, Manifest, StoredFile, Tensor
from ingrain.repository.names import graph_name, model_key
from ingrain.vocabulary import Role

_PACKAGES = (
    "onnx", "onnxruntime", "onnxscript", "open_clip_torch", "sentence-transformers", "timm", "tokenizers", "torch",
    "transformers",
)  # fmt: skip


def graph_folder(job: ExportJob, role: Role) -> Path:
    """Create and return the folder for version 1 of a graph in the job's output folder."""
    folder = Path(job.output) / _graph_name(job, role) / "1"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def model_folder(job: ExportJob) -> Path:
    """Create and return the folder for manifest and side files in the job's output folder."""
    folder = Path(job.output) / "model"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def describe_graph(
    job: ExportJob,
    role: Role,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    *,
    equal_lengths_only: bool = False,
    packs_tokens: bool = False,
    heads: tuple[Head, ...] = (),
) -> Graph:
    """Return a graph's manifest entry; its files must be complete."""
    name = _graph_name(job, role)
    files = _files(Path(job.output) / name)
    return Graph(name, role, inputs, outputs, files, equal_lengths_only, packs_tokens, heads)


def describe_model(job: ExportJob, commit: str | None, model: Description, **converted: Any) -> Manifest:
    """Return a model's manifest; its side files must be complete.

    Args:
        job: The export job.
        commit: The hub's commit.
        model: The source's description of the model.
        **converted: The manifest's fields that follow from the conversion: graphs, verification, embedding size and
            text preprocessing.
    """
    return Manifest(
        name=job.name,
        library=job.library,
        pretrained=job.pretrained,
        revision=job.revision,
        commit=commit,
        precision=job.precision,
        architecture=model.architecture,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"ingrain": __version__, **_versions()},
        query_text=model.preparation.query_text,
        default_input_type=model.default_input_type,
        has_token_dimensions=model.has_token_dimensions,
        late_interaction=model.late_interaction,
        image=model.preparation.image,
        labels=model.labels,
        similarity=model.similarity,
        scoring=model.scoring,
        files=_files(model_folder(job)),
        **converted,
    )


def _graph_name(job: ExportJob, role: Role) -> str:
    return graph_name(model_key(job.name, job.library, job.pretrained), role)


def _files(folder: Path) -> tuple[StoredFile, ...]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return tuple(describe_file(folder, path.relative_to(folder).as_posix()) for path in found)


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # an optional package that is not installed
    return versions
