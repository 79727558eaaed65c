"""What the tests of rules that sentence-transformers ties to a name run in the process that has torch."""

import contextlib
import shutil
from pathlib import Path

import export_in_process
import msgspec
import numpy as np
from clip_in_process import run_job_in

from ingrain.export.process.job import ExportJob
from ingrain.repository.manifest import Manifest

PROMPT = "Represent the Wikipedia sentence: "


def build_t5(folder: Path) -> None:
    """Build a T5 encoder with mean pooling, whose files say nothing of leaving a prompt out."""
    from tiny_pipelines import FAMILIES, build_pipeline, pooling

    build_pipeline(folder, family=FAMILIES["T5 encoder"], modules=[pooling("mean"), ("Normalize", {})])


def pools_prompt_by_name(models: Path, name: str) -> tuple[bool, bool]:
    """Return whether the prompt counts: in the library's model of that name, and in the source of a proof."""
    from sentence_transformers import SentenceTransformer

    from ingrain.export.families.sentence_transformers.checkpoint import inspect
    from ingrain.export.families.sentence_transformers.source import SentenceTransformersSource

    # The library takes a relative path for a name.
    with contextlib.chdir(models):
        theirs = SentenceTransformer(name, device="cpu")[1].include_prompt
    checkpoint = inspect(models / name, trust_remote_code=False)
    ours = SentenceTransformersSource(checkpoint, name=name, trust_remote_code=False).model[1].include_prompt
    return theirs, ours


def embed_by_name(models: Path, name: str) -> np.ndarray:
    """Embed with a prompt as the library does under that name, each text alone."""
    from sentence_transformers import SentenceTransformer

    with contextlib.chdir(models):
        model = SentenceTransformer(name, device="cpu")
    return model.encode(export_in_process.TEXTS, prompt=PROMPT, batch_size=1)


def export_and_prove_again(job: ExportJob, hub: str, cache: Path) -> tuple[Manifest, np.ndarray]:
    """Export from a hub, embed with a prompt from what was made, publish it, and prove what is stored."""
    from ingrain.repository.store import Repository

    environment = {"HF_ENDPOINT": hub, "HF_HUB_CACHE": str(cache)}
    run_job_in(job, environment)
    output = Path(job.output)
    embed = export_in_process.open_published(output)
    rows = [embed([text], PROMPT)[0] for text in export_in_process.TEXTS]
    repository = Repository(output.parent / "repository")
    repository.prepare()
    with repository.staging() as staged:
        shutil.copytree(output, staged, dirs_exist_ok=True)
        repository.publish(staged)
    scratch = output.parent / "scratch"
    scratch.mkdir()
    again = msgspec.structs.replace(job, output=str(scratch), stored_in=str(repository.root))
    return run_job_in(again, environment), np.stack(rows)
