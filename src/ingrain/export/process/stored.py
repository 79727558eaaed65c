"""Receives a stored model and its source, hands on how far they are apart: the proof of publishing, done again."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ingrain.errors import ModelNotFoundError, UnsupportedModelError
from ingrain.export.families import entry
from ingrain.export.onnx.onnx_file import CannotConvert, open_session
from ingrain.export.precision.choose import FLOORS, INT8
from ingrain.export.process.job import ExportJob
from ingrain.export.process.threads import export_threads
from ingrain.export.proof import compare as verify
from ingrain.export.proof import compare_images as verify_images
from ingrain.export.proof.measured import Floors
from ingrain.preprocess.text import TextPreprocessor
from ingrain.progress import Phase, Progress
from ingrain.repository.manifest import Graph, Manifest, Verification
from ingrain.repository.names import model_key
from ingrain.repository.store import Entry, Repository
from ingrain.vocabulary import Precision, Role

Report = Callable[[Progress], None]
References = verify.References | verify_images.ImageReferences

# Of what the source says twice, where the graph itself has floors instead.
_TOLERANCE = 1e-4


def find_stored(job: ExportJob, root: str) -> Entry:
    """Find the model of a job in the repository at ``root``, with every file as it was published.

    Raises:
        ModelNotFoundError: The repository does not have the model.
        DamagedEntryError: A stored file is missing or differs from its checksum.
    """
    repository = Repository(Path(root))
    stored = repository.find(model_key(job.name, job.library, job.pretrained))
    if stored is None:
        raise ModelNotFoundError(f"Model {job.name!r} is not in the repository.", param="name")
    repository.check(stored)
    return stored


def prove_stored(job: ExportJob, stored: Entry, folder: Path, report: Report) -> Manifest:
    """Compare the graphs of a repository, its tokenizer and its geometry with the source library.

    Args:
        job: Names the model and, in ``stored_in``, the repository; ``output`` is scratch space.
        stored: What the repository has of it.
        folder: The model's folder, as the source library loads it.
        report: Called with progress.

    Returns:
        The stored manifest with what was measured now; nothing is written to the repository.

    Raises:
        VerificationError: A graph, the tokenizer or prepared pixels differ by more than was allowed when it was made.
        ExportError: The source library cannot load the model.
    """
    assert job.stored_in is not None
    repository = Repository(Path(job.stored_in))
    source = _open_source(job, stored.manifest, folder)
    asked = [(graph, _ask(source, stored, graph, report)) for graph in stored.manifest.graphs]
    # ONNX Runtime will hold a copy of the weights of its own.
    source.release()
    gc.collect()
    proofs = {}
    for graph, references in asked:
        session = _open_session(repository.locate_graph(graph), stored.manifest.precision, job)
        proofs[graph.role] = _prove(session, stored, graph, references, report)
    return msgspec.structs.replace(stored.manifest, verification=proofs)


def _open_session(path: Path, precision: Precision, job: ExportJob) -> Any:
    on_gpu = job.on_gpu and precision not in INT8  # these are served on CPUs alone
    try:
        return open_session(path, export_threads(), precision=precision, on_gpu=on_gpu)
    except CannotConvert as error:
        if precision == "fp16" and not on_gpu:
            raise UnsupportedModelError(
                f"Model {job.name!r} is stored in fp16, as it is fast on a GPU, and can be proved only where there is "
                "one.",
                param="name",
            ) from error
        raise


def _open_source(job: ExportJob, manifest: Manifest, folder: Path) -> Any:
    """Load the model as its export does; writing a tokenizer is also what tells a source where to cut texts."""
    if job.library == "timm":
        from ingrain.export.families.timm.checkpoint import inspect_timm
        from ingrain.export.families.timm.source import TimmSource

        return TimmSource(inspect_timm(folder), headless=manifest.task == "embed")
    source: Any
    if job.library == "open_clip":
        from ingrain.export.families.open_clip.checkpoint import inspect_clip
        from ingrain.export.families.open_clip.source import ClipSource

        source = ClipSource(inspect_clip(folder))
    else:
        from ingrain.export.families.sentence_transformers.checkpoint import inspect
        from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource

        checkpoint = inspect(folder, trust_remote_code=bool(job.trust_remote_code))
        source = SentenceTransformersSource(checkpoint, name=job.name, trust_remote_code=bool(job.trust_remote_code))
    source.save_tokenizer(entry.model_folder(job))
    return source


def _ask(source: Any, stored: Entry, graph: Graph, report: Report) -> References:
    """Have the source make what the graph will be compared with."""
    if graph.role != "text_encoder":
        assert stored.manifest.image is not None
        report(Progress("read", "reference outputs of pictures"))
        return verify_images.ask_image_source(source, stored.manifest.image)
    assert stored.manifest.text is not None
    # Where a graph wants all texts padded to one length, the source does not.
    text = msgspec.structs.replace(stored.manifest.text, fixed_length=False)
    return verify.ask_source(
        source,
        TextPreprocessor(text, stored.folder),
        [value.name for value in graph.inputs],
        tolerance=_allowed(stored.manifest, graph.role)[0],
        report=_counter(report, "read", "reference vectors"),
    )


def _prove(session: Any, stored: Entry, graph: Graph, references: References, report: Report) -> Verification:
    tolerance, floors = _allowed(stored.manifest, graph.role)
    if isinstance(references, verify_images.ImageReferences):
        return verify_images.prove_images(
            session,
            references,
            tolerance=tolerance,
            report=_counter(report, "verify", "pictures"),
            measure=verify_images.compare_logits if graph.role == "classifier" else verify.compare,
            floors=floors,
        )
    assert stored.manifest.text is not None
    preprocessor = TextPreprocessor(stored.manifest.text, stored.folder)
    count = _counter(report, "verify", "vectors")
    return verify.prove(session, references, preprocessor, tolerance=tolerance, report=count, floors=floors)


def _allowed(manifest: Manifest, role: Role) -> tuple[float, Floors | None]:
    """Return what the graph had to reach when it was published: a tolerance or, in a lower precision, floors."""
    tolerance = manifest.verification[role].tolerance
    return (_TOLERANCE, FLOORS[manifest.precision]) if tolerance is None else (tolerance, None)


def _counter(report: Report, phase: Phase, detail: str) -> Callable[[int, int], None]:
    def count(done: int, total: int) -> None:
        report(Progress(phase, detail, done, total, "cases"))

    return count
