"""Receives an export job of OpenCLIP, hands on one folder with all that its export reads, wherever the parts lay."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ingrain.errors import InvalidRequestError, UnsupportedModelError
from ingrain.machine_faults import raise_if_machines
from ingrain.progress import Progress
from ingrain.sources.files import CONFIG_ONLY, TOKENIZER_ONLY, FileRules, file_rules
from ingrain.sources.hub import Hub, Snapshot, fetch_model
from ingrain.sources.local import find_local, link_files, list_files
from ingrain.sources.names import HUB_PREFIX, LOCAL_PREFIX, check_repo_id, check_revision, missing_folder
from ingrain.sources.registries import clip_weights
from ingrain.sources.spec import SourceSpec

CONFIG = "open_clip_config.json"
# Where the export looks for the configuration of a text tower of transformers.
TEXT_CONFIG = Path("text_config") / "config.json"
# Below the job's output: a folder of links, where the parts of a model lie apart.
LINKED_FOLDER = "source"
_WEIGHTS, _PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFolder:
    """What was found.

    Attributes:
        folder: What the export reads.
        commit: The hub's commit of the weights; None for a local folder.
    """

    folder: Path
    commit: str | None


def resolve_clip(job: SourceSpec, progress: Report) -> ClipFolder:
    """Find a model as OpenCLIP would: a local folder, ``hf-hub:organization/name``, or an architecture with a tag.

    A tokenizer or a text tower of its own name on the hub is fetched as well; what lies apart is linked into one folder
    below the job's output.

    Raises:
        InvalidRequestError: The name is malformed, or ``pretrained`` or ``revision`` do not go with it.
        SourceNotFoundError: There is no such model.
        SourceForbiddenError: The hub wants a token, or another one.
        SourceUnavailableError: The hub cannot be reached, or the download broke off.
        UnsupportedModelError: The weights are there in no form that is read.
    """
    if job.revision is not None:
        check_revision(job.revision)
    folder = _local(job)
    if folder is not None:
        _refuse(job, "pretrained", "revision", reason="a local folder")
        progress(Progress(phase="download", detail="local folder"))
        config = _read_config(folder)
        return ClipFolder(folder=_with_text_tower(job, folder, config), commit=None)
    if job.name.startswith(HUB_PREFIX):
        _refuse(job, "pretrained", reason="a model on the hub")
        return _from_hub(job, progress)
    return _published(job, progress)


def resolve_custom_clip(job: SourceSpec, folder: Path) -> Path:
    """Link a custom source into one folder with what its configuration names and the user gave no URL for.

    Args:
        job: The export job.
        folder: The custom source's files.

    Raises:
        InvalidRequestError: Its configuration names a tokenizer or text tower that cannot be on the hub.
        SourceNotFoundError, SourceForbiddenError, SourceUnavailableError: That part cannot be had.
        UnsupportedModelError: Its configuration cannot be read.
    """
    config = _read_config(folder)
    own_tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    return _assemble(job, _Parts(config, folder / _WEIGHTS, folder if own_tokenizer else None))


def _local(job: SourceSpec) -> Path | None:
    wanted = job.name.removeprefix(LOCAL_PREFIX)
    folder = find_local(wanted, Path(job.local_models_dir)) if job.local_models_dir is not None else None
    if folder is None and wanted != job.name:
        raise missing_folder(wanted)
    # `ViT-B-32` may be a folder of someone's; one without a configuration is none of ours.
    return folder if folder is None or wanted != job.name or (folder / CONFIG).is_file() or not job.pretrained else None


def _from_hub(job: SourceSpec, progress: Report) -> ClipFolder:
    repo_id = check_repo_id(job.name.removeprefix(HUB_PREFIX), job.name)
    rules = file_rules("open_clip", pickled_weights=job.pickled_weights)
    snapshot = _fetch(job, repo_id, rules, progress, revision=job.revision)
    config = _read_config(snapshot.folder)
    own = _reads_tokenizer_of(config, repo_id)
    parts = _Parts(config, _there(snapshot.folder, _WEIGHTS, _PICKLED), snapshot.folder if own else None)
    return ClipFolder(folder=_assemble(job, parts), commit=snapshot.commit)


def _published(job: SourceSpec, progress: Report) -> ClipFolder:
    found = clip_weights(job.name, job.pretrained)
    rules = replace(
        file_rules("open_clip", pickled_weights=job.pickled_weights),
        weights=re.compile(re.escape(found.file)),
        pickles=re.compile(re.escape(found.pickled)),
    )
    snapshot = _fetch(job, found.repo_id, rules, progress, revision=job.revision)
    own = _reads_tokenizer_of(found.config, found.repo_id)
    weights = _there(snapshot.folder, found.file, found.pickled)
    parts = _Parts(found.config, weights, snapshot.folder if own else None)
    return ClipFolder(folder=_assemble(job, parts), commit=snapshot.commit)


def _there(folder: Path, safetensors: str, pickled: str) -> Path:
    return folder / (safetensors if (folder / safetensors).is_file() else pickled)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What has been found so far: configuration, weights, and the tokenizer's folder where that is known."""

    config: dict[str, Any]
    weights: Path
    tokenizer: Path | None


def _assemble(job: SourceSpec, parts: _Parts) -> Path:
    """Link the parts of a model into one folder as ``local-dir:`` wants it."""
    folder = Path(job.output) / LINKED_FOLDER
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(parts.config))
    name = _WEIGHTS if parts.weights.suffix == ".safetensors" else _PICKLED
    (folder / name).symlink_to(parts.weights.resolve())
    text = _text_config(parts.config)
    if tokenizer_name := text.get("hf_tokenizer_name"):
        tokenizer = parts.tokenizer or _fetch_part(job, str(tokenizer_name), TOKENIZER_ONLY)
        for file in tokenizer.iterdir():
            if file.is_file() and file.name != CONFIG and file.suffix not in _WEIGHT_SUFFIXES:
                (folder / file.name).symlink_to(file.resolve())
    return _with_text_tower(job, folder, parts.config)


def _with_text_tower(job: SourceSpec, folder: Path, config: dict[str, Any]) -> Path:
    """Return a folder that has the configuration of the text tower, where that is one of transformers."""
    name = _text_config(config).get("hf_model_name")
    if not name or (folder / TEXT_CONFIG).is_file():
        return folder
    if folder.parent != Path(job.output):
        # A user's own folder is left as it is.
        links = Path(job.output) / LINKED_FOLDER
        link_files(folder, list_files(folder), links)
        folder = links
    found = _fetch_part(job, str(name), CONFIG_ONLY)
    (folder / TEXT_CONFIG).parent.mkdir(exist_ok=True)
    (folder / TEXT_CONFIG).symlink_to((found / "config.json").resolve())
    return folder


def _fetch_part(job: SourceSpec, name: str, rules: FileRules) -> Path:
    """Fetch what a configuration names: a tokenizer, or the configuration of a text tower."""
    repo_id = check_repo_id(name.removeprefix(HUB_PREFIX), name)
    return _fetch(job, repo_id, rules, lambda _: None, revision=None).folder


def _fetch(job: SourceSpec, repo_id: str, rules: FileRules, progress: Report, *, revision: str | None) -> Snapshot:
    return fetch_model(
        repo_id,
        library="open_clip",
        revision=revision,
        trust_remote_code=False,
        hub=Hub(token=job.token, offline=job.offline),
        progress=progress,
        rules=rules,
    )


def _reads_tokenizer_of(config: dict[str, Any], repo_id: str) -> bool:
    """Return True where the tokenizer lies beside the weights."""
    name = str(_text_config(config).get("hf_tokenizer_name") or "")
    return name.removeprefix(HUB_PREFIX) == repo_id


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    model = config.get("model_cfg")
    text = model.get("text_cfg") if isinstance(model, dict) else None
    return text if isinstance(text, dict) else {}


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise_if_machines(error)
        raise UnsupportedModelError(
            f"The model has no {CONFIG} that can be read, so it is no OpenCLIP model.", param="name"
        ) from error
    return config if isinstance(config, dict) else {}


def _refuse(job: SourceSpec, *fields: str, reason: str) -> None:
    for field in fields:
        if getattr(job, field) is not None:
            raise InvalidRequestError(f"{job.name!r} is {reason}; leave {field!r} out.", param=field)
