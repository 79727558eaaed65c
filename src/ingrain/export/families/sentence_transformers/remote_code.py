"""Decides whether a model loads with transformers' own classes or with its custom code, if that code may run.

The decision uses the model's JSON files alone; no custom code is imported or run here.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ingrain.export.families.protocol import LoadableFolder, Report
from ingrain.export.families.sentence_transformers.checkpoint import (
    modules_of,
    transformer_options,
)
from ingrain.export.families.sentence_transformers.code_references import (
    CONFIG,
    TOKENIZER_CONFIG,
    Reference,
    auto_maps,
    code_folder,
    configuration_files,
    localized,
    module_code,
    references_in,
    with_local_code,
)
from ingrain.export.huggingface.native_classes import read_natively, read_tokenizer_natively
from ingrain.export.model_files import read_json, unsupported
from ingrain.export.process.job import ExportJob
from ingrain.repository.checksums import describe_file
from ingrain.repository.manifest import Code
from ingrain.sources.code import fetch_code
from ingrain.sources.local import link_files, list_files
from ingrain.sources.model_source import ResolvedSource
from ingrain.sources.trust import (
    EVERYBODY,
    SETTING,
    how_to_allow,
    is_proposal,
    is_trusted,
    may_be_anybodys,
    trusted_commits,
)


def prepare_folder(job: ExportJob, source: ResolvedSource, links: Path, report: Report) -> LoadableFolder:
    """Decide between transformers' own classes and custom code, and return a folder that loads accordingly.

    Args:
        job: The export job; says whose code may run.
        source: The model's files.
        links: Path for a folder of links, if one is needed.
        report: Called with progress.

    Raises:
        UnsupportedModelError: The model needs code that may not run; the message says what would allow it.
        SourceNotFoundError, SourceForbiddenError, SourceUnavailableError: Code in another repository cannot be fetched.
    """
    changed, repositories = _plan(job, source)
    fetched = [_fetch(name, job, source, report) for name in repositories if name != source.repository]
    folder = _lay_out(source.folder, links, changed) if changed or fetched else source.folder
    if folder == links and source.repository in repositories:
        _copy_code(source.folder, links)  # otherwise keep it out of reach of the code that is allowed
    for code in fetched:
        _copy_code(code.folder, links / code_folder(code.described.repository))
    described = [code.described for code in fetched]
    if source.repository in repositories:
        described.insert(0, _describe(source.repository, source.commit, source.folder))
    return LoadableFolder(folder, runs_code=bool(repositories), code=tuple(described))


def refuse_untrusted_code(job: ExportJob, source: ResolvedSource) -> None:
    """Raise if a model needs code that may not run; reads only the model's side files."""
    _plan(job, source)


def _plan(job: ExportJob, source: ResolvedSource) -> tuple[dict[str, Any], list[str]]:
    """Return the contents of the files to rewrite, by path, and the repositories whose code will run."""
    changed: dict[str, Any] = {}
    needed = list(module_code(source.folder))
    for file in configuration_files(source.folder):
        config = read_json(file)
        named = [reference for auto_map in auto_maps(config) for reference in references_in(auto_map)]
        wanted = _natively(file, config, named)
        if wanted is None:
            needed += named
            wanted = {file: with_local_code(config, source.repository)}
        changed |= {
            path.relative_to(source.folder).as_posix(): content
            for path, content in wanted.items()
            if content != (config if path == file else read_json(path))
        }
    if any(reference.repository for reference in module_code(source.folder)):
        changed["modules.json"] = [
            entry | {"type": localized(entry["type"], source.repository)}
            for entry in msgspec.json.decode((source.folder / "modules.json").read_bytes(), type=list[dict[str, Any]])
        ]
    repositories = sorted({reference.repository or source.repository for reference in needed})
    _refuse_untrusted(job, source, needed, repositories)
    return changed, repositories


def _refuse_untrusted(job: ExportJob, source: ResolvedSource, needed: list[Reference], repositories: list[str]) -> None:
    if needed and source.origin == "custom":
        raise unsupported(
            f"{job.name!r} needs code that comes with the model ({needed[0]}); models given by URLs can never run code."
        )
    refused = [name for name in repositories if not _may_run(name, source, job)]
    if refused:
        first = next(reference for reference in needed if (reference.repository or source.repository) in refused)
        raise unsupported(
            f"{job.name!r} needs code that comes with the model ({first}, of {refused[0]!r}), and remote code is run "
            f"only where it is allowed. {how_to_allow(_pinned(name, source, job) for name in refused)}"
        )


def _natively(file: Path, config: dict[str, Any], named: list[Reference]) -> dict[Path, dict[str, Any]] | None:
    """Return the contents of files for loading without custom code; None if the model needs its code."""
    if file.name == CONFIG:
        if named != references_in(config.get("auto_map")):
            return None  # a nested part names code too
        networks = [reference.name for reference in references_in(config.get("auto_map"), only="AutoModel")]
        native = None if named and not networks else read_natively(config, networks[0] if networks else None)
        return {file: native or config} if native or not named else None
    if not named:
        return {file: config}
    if file.name != TOKENIZER_CONFIG:
        return None
    tokenizer = file.with_name("tokenizer.json")
    found = read_tokenizer_natively(config, read_json(tokenizer), {reference.name for reference in named})
    return None if found is None else dict(zip((file, tokenizer), found, strict=True))


def _may_run(repository: str, source: ResolvedSource, job: ExportJob) -> bool:
    if repository == source.repository:
        allowed = trusted_commits(repository, job.trust_remote_code)
        if _is_untrusted_proposal(job):
            return source.commit in allowed
        return is_trusted(repository, source.commit, job.trust_remote_code)
    return bool(trusted_commits(repository, job.trust_remote_code))


def _is_untrusted_proposal(job: ExportJob) -> bool:
    """Return True if the requested revision may come from somebody else than the model's owner (a pull request)."""
    return job.revision is not None and is_proposal(job.revision) and EVERYBODY not in job.trust_remote_code


def _pinned(repository: str, source: ResolvedSource, job: ExportJob) -> str:
    own = repository == source.repository and _is_untrusted_proposal(job)
    return f"{repository}@{source.commit}" if own else repository


@dataclass(frozen=True, slots=True)
class _Fetched:
    folder: Path
    described: Code


def _fetch(repository: str, job: ExportJob, source: ResolvedSource, report: Report) -> _Fetched:
    pinned = [commit for commit in trusted_commits(repository, job.trust_remote_code) if commit]
    free = "" in trusted_commits(repository, job.trust_remote_code)
    revision = job.code_commits.get(repository) or (None if free else pinned[0])
    if revision is None:
        revision = _code_revision(source.folder)
        if revision and may_be_anybodys(revision) and not {revision, EVERYBODY} & {*pinned, *job.trust_remote_code}:
            raise unsupported(
                f"The model asks for the code of {repository!r} at {revision!r}, which may be a change that somebody "
                f"else proposed. Trust in the owner covers branches and tags only. To run that code, add "
                f"'{repository}@' and the commit to {SETTING}."
            )
    snapshot = fetch_code(repository, revision, job, report)
    if not is_trusted(repository, snapshot.commit, job.trust_remote_code):
        raise unsupported(
            f"The code of {repository!r} is allowed at {pinned[0]}, but the model was made with {snapshot.commit}. "
            + how_to_allow([f"{repository}@{snapshot.commit}"])
        )
    return _Fetched(snapshot.folder, _describe(repository, snapshot.commit, snapshot.folder))


def _code_revision(folder: Path) -> str | None:
    """Return the revision that the model's settings name for code in another repository, if any."""
    for _, part in modules_of(folder) or [("", folder)]:
        options = transformer_options(part)
        for arguments in ("model_kwargs", "model_args", "config_kwargs", "config_args"):
            if revision := options.get(arguments, {}).get("code_revision"):
                return str(revision)
    return None


def _describe(repository: str, commit: str | None, folder: Path) -> Code:
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.py") if file.is_file())
    return Code(repository, commit, tuple(describe_file(folder, file) for file in files))


def _lay_out(folder: Path, links: Path, changed: dict[str, Any]) -> Path:
    """Link a model's files into a new folder, except code, and write the changed files there."""
    kept = (path for path in list_files(folder) if not path.endswith(".py") and path not in changed)
    link_files(folder, kept, links)
    for name, content in changed.items():
        (links / name).parent.mkdir(parents=True, exist_ok=True)
        (links / name).write_bytes(msgspec.json.format(msgspec.json.encode(content)))
    return links


def _copy_code(folder: Path, target: Path) -> None:
    """Copy Python files. Links will not do, because transformers names modules after the path of the real file."""
    for file in folder.rglob("*.py"):
        copy = target / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
