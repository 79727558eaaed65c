"""Verifies a stored model against its source library again, as before its publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ingrain.errors import ExportError, ModelNotFoundError
from ingrain.export.families.convert import ask_source, prove_tower
from ingrain.export.families.output import model_folder
from ingrain.export.families.protocol import Family, Preparation, Report
from ingrain.export.model_files import unsupported
from ingrain.export.onnx.onnx_file import CannotConvert, open_session
from ingrain.export.precision.choose import FLOORS, INT8
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.deviation import Floors
from ingrain.export.proof.side_by_side import session_threads
from ingrain.repository.manifest import Manifest
from ingrain.repository.names import model_key
from ingrain.repository.store import Entry, Repository
from ingrain.repository.verification import Verification
from ingrain.vocabulary import Precision, Role

# Tolerance for comparing the source with itself if the graph has floors instead of a tolerance.
_TOLERANCE = 1e-4


def find_stored(job: ExportJob, root: str) -> Entry:
    """Find a job's model in the repository at ``root``, and check its files.

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


def prove_stored(job: ExportJob, stored: Entry, family: Family, folder: Path, report: Report) -> Manifest:
    """Compare a stored model's graphs, tokenizer and image preprocessing with the source library.

    Args:
        job: Names the model and, in ``stored_in``, the repository; ``output`` is scratch space.
        stored: The model's entry in the repository.
        family: The model's family.
        folder: The folder that the source library loads.
        report: Called with progress.

    Returns:
        The stored manifest with the new measurements; nothing is written to the repository.

    Raises:
        VerificationError: A graph, the tokenizer or prepared pixels differ by more than the export allowed.
        ExportError: The source library cannot load the model.
    """
    assert job.stored_in is not None
    repository = Repository(Path(job.stored_in))
    manifest = stored.manifest
    source = family.open(msgspec.structs.replace(job, task=manifest.task, precision=manifest.precision), folder)
    # `describe` writes a tokenizer, and thereby sets the source's maximum text length.
    towers = {tower.role: tower for tower in source.describe(model_folder(job)).towers}
    # The source does not need texts padded to the full length, even if the graph does.
    text = None if manifest.text is None else msgspec.structs.replace(manifest.text, fixed_length=False)
    prepared = Preparation(folder=stored.folder, text=text, query_text=manifest.query_text, image=manifest.image)
    references_of_role = {}
    for graph in manifest.graphs:
        if graph.role not in towers:
            raise ExportError(f"The repository has a {graph.role} for this model, but its source has none.")
        inputs, (tolerance, _) = [value.name for value in graph.inputs], _allowed(manifest, graph.role)
        references_of_role[graph.role] = ask_source(towers[graph.role], prepared, inputs, tolerance, report)
    source.release()  # ONNX Runtime will hold its own copy of the weights
    proofs = dict[Role, Verification]()
    for graph in manifest.graphs:
        references = references_of_role[graph.role]
        if manifest.text is not None and manifest.text.fixed_length:
            references = {role: found.of_fixed_length() for role, found in references.items()}
        session = _open_session(repository.locate_graph(graph), manifest.precision, job)
        allowed = _allowed(manifest, graph.role)
        proofs |= prove_tower(towers[graph.role], session, references, *allowed, report)
    return msgspec.structs.replace(manifest, verification=proofs)


def _open_session(path: Path, precision: Precision, job: ExportJob) -> Any:
    on_gpu = job.on_gpu and precision not in INT8  # int8 graphs run on CPUs only
    try:
        return open_session(path, session_threads(), precision=precision, on_gpu=on_gpu)
    except CannotConvert as error:
        if precision == "fp16" and not on_gpu:
            raise unsupported(
                f"Model {job.name!r} is stored in fp16, in a form for GPUs, and can be verified only on a machine with "
                "a GPU."
            ) from error
        raise


def _allowed(manifest: Manifest, role: Role) -> tuple[float, Floors | None]:
    """Return the tolerance and the floors that the graph was published with."""
    tolerance = manifest.verification[role].tolerance
    return (_TOLERANCE, FLOORS[manifest.precision]) if tolerance is None else (tolerance, None)
