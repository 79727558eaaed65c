"""`ingrain verify`: compares a stored model with its source library again."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from typing import TYPE_CHECKING

import msgspec

from ingrain.cli.connect import model_of, quiet_logs, say
from ingrain.cli.parsers import add_command, add_json_flag, add_model_flags
from ingrain.cli.stored import find_stored, open_repository
from ingrain.python_backend import cuda
from ingrain.settings import Settings, load_settings

if TYPE_CHECKING:
    from ingrain.export.process.job import ExportJob
    from ingrain.progress import Progress
    from ingrain.repository.manifest import Manifest
    from ingrain.repository.store import Repository
    from ingrain.repository.verification import Verification

_EXAMPLES = """\
examples:
  ingrain verify all-MiniLM-L6-v2
  ingrain verify open_clip:ViT-B-32@laion2b_s34b_b79k --repository /repository
  ingrain verify all-MiniLM-L6-v2 --json

It reads the repository on this machine, not a server, and needs what a conversion needs: ingrain[export], and the
model's source (the hub or its cache, or the directory of local models). Nothing is changed.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(
        commands,
        "verify",
        "prove a stored model again",
        verify,
        description="Compare a model of the repository with its source library, as was done before it was published.",
        examples=_EXAMPLES,
    )
    parser.add_argument("name", help="a model of the repository; also `library:name@tag`.")
    add_model_flags(parser)
    parser.add_argument(
        "--repository", metavar="FOLDER", help="or a URL. Default: INGRAIN_REPOSITORY, else where serve keeps it."
    )
    parser.add_argument("--local-models-dir", metavar="FOLDER", help="Default: INGRAIN_LOCAL_MODELS_DIR.")
    parser.add_argument("--verbose", action="store_true", help="show what the source library wrote, if it fails.")
    add_json_flag(parser)


def verify(options: dict[str, object]) -> int:
    """Run the command."""
    from ingrain.export.process.runner import run_export

    if not options["verbose"]:
        quiet_logs()
    settings = load_settings({name: options[name] for name in ("repository", "local_models_dir")})
    repository = open_repository(settings)
    ref, library = model_of(str(options["name"]), options["library"], options["pretrained"])  # type: ignore[arg-type]
    stored = find_stored(repository, ref.name, library, ref.pretrained).manifest
    with tempfile.TemporaryDirectory(prefix="ingrain-verify-") as scratch:
        job = _job(stored, settings, repository, scratch)
        export = run_export(
            job,
            timeout_s=settings.export_timeout_s,
            on_progress=_show,
            memory_share=settings.export_memory,
        )
        manifest = asyncio.run(export)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    say(
        {
            "name": manifest.name,
            "library": manifest.library,
            "pretrained": manifest.pretrained,
            "proved": True,
            "code": msgspec.to_builtins(manifest.code),
            "verification": msgspec.to_builtins(manifest.verification),
        },
        as_json=options["json"],
        text=_text(manifest),
    )
    return 0


def _job(stored: Manifest, settings: Settings, repository: Repository, scratch: str) -> ExportJob:
    from ingrain.export.process.job import ExportJob

    return ExportJob(
        name=stored.name,
        library=stored.library,
        pretrained=stored.pretrained,
        # A branch may point to another commit since the export.
        revision=stored.commit or stored.revision,
        output=scratch,
        local_models_dir=str(settings.local_models_dir.resolve()) if settings.local_models_dir else None,
        custom_models_dir=str(repository.custom.folder),
        token=settings.hf_token,
        offline=settings.offline or settings.hub_offline,
        trust_remote_code=settings.trust_remote_code,
        pickled_weights=settings.pickled_weights == "allow",
        # Use the commits of the code at the export, too.
        code_commits={code.repository: code.commit for code in stored.code if code.commit},
        on_gpu=settings.instance_kind != "KIND_CPU" and cuda.why_unusable() is None,
        extensions=settings.extensions,
        stored_in=str(repository.root),
    )


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        part = f" {progress.done}/{progress.total}" if progress.total else ""
        print(f"\r\033[K{progress.phase}: {progress.detail}{part}", end="", file=sys.stderr, flush=True)


def _text(manifest: Manifest) -> str:
    lines = [f"{manifest.name} ({manifest.library}) is what its source library computes."]
    for role, proof in manifest.verification.items():
        lines.append(
            f"  {role}: {_measured(proof)}, {proof.cases} outputs compared"
            + (f", {proof.tokenizer_cases} texts tokenized alike" if proof.tokenizer_cases else "")
        )
    for code in manifest.code:
        files = ", ".join(file.path for file in code.files)
        where = f"at {code.commit}" if code.commit else "in its folder"
        lines.append(f"  made with code of {code.repository} {where}: {files}")
    return "\n".join(lines)


def _measured(proof: Verification) -> str:
    if proof.tolerance is not None:
        allowed = f"largest difference {proof.max_abs_diff:.2g} of {proof.tolerance:.2g} allowed"
        if proof.relative_tolerance is not None:
            return (
                f"{allowed} ({proof.measured}), {proof.max_relative_diff:.2g} of {proof.relative_tolerance:.2g} of the "
                "raw outputs' size"
            )
        return f"{allowed}, smallest cosine {proof.min_cosine:.6f}"
    if proof.rank_correlation_floor is not None:
        return (
            f"rank correlation {proof.rank_correlation:.4f} of at least {proof.rank_correlation_floor:.4f} asked, mean "
            f"difference {proof.mean_abs_diff:.4f} of at most {proof.mean_abs_diff_limit:.4f} ({proof.measured})"
        )
    return (
        f"mean cosine {proof.mean_cosine:.4f} of at least {proof.mean_cosine_floor:.4f} asked, smallest "
        f"{proof.min_cosine:.4f} of {proof.min_cosine_floor:.4f}"
    )
