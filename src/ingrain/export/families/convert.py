"""Converts a loaded model: exports, proves and describes each tower in the requested precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ingrain.errors import ExportError
from ingrain.export.families.output import describe_graph, describe_model, graph_folder, model_folder
from ingrain.export.families.protocol import Candidate, Preparation, Report, Source, Tower
from ingrain.export.onnx.onnx_file import describe_inputs, describe_outputs, open_session, write_onnx
from ingrain.export.onnx.packed_tokens import try_packed
from ingrain.export.precision.calibrate import calibrate
from ingrain.export.precision.choose import INT8, choose_graph
from ingrain.export.process.job import ExportJob
from ingrain.export.proof.compare import Arrays, Count, References, prove_all
from ingrain.export.proof.deviation import Floors, Proofs
from ingrain.export.proof.first_proved import first_proved
from ingrain.export.proof.side_by_side import session_threads
from ingrain.progress import Phase, Progress
from ingrain.repository.manifest import Graph, Head, Manifest, Tensor
from ingrain.repository.verification import Verification
from ingrain.vocabulary import Role

# The leading axes of the outputs of heads.
_OF_TOKENS = ("batch", "tokens")


def convert(job: ExportJob, source: Source, commit: str | None, report: Report, *, brief: bool = False) -> Manifest:
    """Convert a model.

    Args:
        job: The export job; ``job.output`` gets the result.
        source: The loaded model.
        commit: The hub's commit, for the manifest.
        report: Called with progress.
        brief: True: prove with few inputs, for runs over hundreds of models.

    Returns:
        The manifest, not written yet.

    Raises:
        UnsupportedModelError: The model cannot be converted, with the reason.
        VerificationError: A graph differs from the source.
        ExportError: The weights are unusable.
    """
    model = source.describe(model_folder(job))
    references = [
        ask_source(tower, model.preparation, tower.inputs, job.tolerance, report, brief=brief) for tower in model.towers
    ]
    widths = [found[tower.role].width for tower, found in zip(model.towers, references, strict=True)]
    if len(set(widths)) > 1:
        raise ExportError(f"The towers give vectors of {' and '.join(map(str, widths))} dimensions.")
    text, graphs, proofs = model.preparation.text, [], dict[Role, Verification]()
    for number, (tower, found) in enumerate(zip(model.towers, references, strict=True)):
        progress = Progress("export", tower.label, number, len(model.towers), "graphs")
        graph, proved, candidate = _convert_tower(job, source, tower, found, report, progress)
        graphs.append(graph)
        proofs |= proved
        if text is not None and candidate.fixed_length:
            text = msgspec.structs.replace(text, fixed_length=True)
    manifest = describe_model(
        job, commit, model, embedding_size=widths[0], graphs=tuple(graphs), text=text, verification=proofs
    )
    return manifest if brief else calibrate(job, manifest, report)


def ask_source(
    tower: Tower,
    prepared: Preparation,
    inputs: Sequence[str],
    tolerance: float,
    report: Report,
    *,
    brief: bool = False,
) -> dict[Role, References]:
    """Compute the source's outputs that a tower's graph will be compared with, by their roles, the main one first."""
    count = _counter(report, "read", f"reference outputs of {tower.label}s")
    main = tower.ask(prepared, inputs, tolerance, brief, count)
    if not tower.heads:
        return {tower.role: main}
    own = {head.role: replace(head.ask(main), names=head.outputs) for head in tower.heads}
    return {tower.role: replace(main, names=(tower.output,)), **own}


def prove_tower(
    tower: Tower,
    session: Any,
    references: Mapping[Role, References],
    tolerance: float,
    floors: Floors | None,
    report: Report,
) -> dict[Role, Verification]:
    """Compare a tower's graph with the source."""
    count = _counter(report, "verify", f"outputs of {tower.label}s")
    proofs = prove_all(session, list(references.values()), tolerance=tolerance, report=count, floors=floors)
    return dict(zip(references, proofs, strict=True))


def _convert_tower(
    job: ExportJob,
    source: Source,
    tower: Tower,
    references: Mapping[Role, References],
    report: Report,
    progress: Progress,
) -> tuple[Graph, Proofs, Candidate]:
    """Try the tower's candidates in order until one graph is proved."""
    path = graph_folder(job, tower.role) / "model.onnx"

    def attempt(candidate: Candidate) -> tuple[Graph, Proofs, Candidate]:
        report(msgspec.structs.replace(progress, detail=f"{tower.label}, {candidate}"))
        kinds = {
            role: found.of_fixed_length() if candidate.fixed_length else found for role, found in references.items()
        }
        cases = kinds[tower.role]
        _write(source, candidate, tower, cases, path)

        def prove_session(session: Any, floors: Floors | None = None) -> Proofs:
            return prove_tower(tower, session, kinds, job.tolerance, floors, report)

        def examine(session: Any) -> tuple[tuple[Tensor, ...], dict[Role, tuple[Tensor, ...]], Proofs]:
            outputs = {role: describe_outputs(session, kind.row_shape, kind.names) for role, kind in kinds.items()}
            return describe_inputs(session, cases.axes), outputs, prove_session(session)

        def sample() -> Iterable[Arrays]:
            return cases.calibration_batches(tower.inputs, _counter(report, "export", "ranges of values"))

        packed = try_packed(path, examine, what=tower.title) if _may_pack(job, candidate, cases) else None
        inputs, outputs, proof = packed or examine(open_session(path, session_threads()))
        if tower.int8 or job.precision not in INT8:
            if job.precision != "fp32" or job.on_gpu:
                wanted = f"{job.precision}, for the GPU" if job.on_gpu else job.precision
                report(msgspec.structs.replace(progress, detail=f"{tower.label}, {wanted}"))
            proof = choose_graph(path, job, proof, prove_session, what=tower.title, sample=sample)
        graph = describe_graph(
            job, tower.role, inputs, outputs[tower.role],
            equal_lengths_only=cases.equal_lengths_only, packs_tokens=packed is not None,
            heads=tuple(Head(head.role, outputs[head.role], head.skipped_tokens) for head in tower.heads),
        )  # fmt: skip
        return graph, proof, candidate

    return first_proved(tower.candidates, attempt, what=tower.title)


def _may_pack(job: ExportJob, candidate: Candidate, references: References) -> bool:
    """Return whether a graph is tried whose operators run on real tokens only."""
    has_padding = not (references.equal_lengths_only or candidate.fixed_length)
    # Tokens of a query's expansion are left out of the attention, and have vectors nevertheless.
    has_padding = has_padding and references.output_axes == ("batch",)
    return job.packs_tokens and job.precision == "fp32" and not job.on_gpu and has_padding


def _write(source: Source, candidate: Candidate, tower: Tower, references: References, path: Path) -> None:
    """Write the graph, then release the source's weights, because ONNX Runtime will hold its own copy."""
    for leftover in path.parent.iterdir():
        leftover.unlink()
    source.load()
    graph = candidate.build(source.model)
    write_onnx(
        graph,
        references.sample(tower.inputs),
        {tower.output: references.output_axes, **{name: _OF_TOKENS for head in tower.heads for name in head.outputs}},
        path,
        candidate.recipe,
        references.axes,
    )
    del graph
    source.release()
    if tower.finish is not None:
        tower.finish(path)


def _counter(report: Report, phase: Phase, detail: str) -> Count:
    return lambda done, total: report(Progress(phase, detail, done, total, "cases"))
