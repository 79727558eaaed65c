"""Finds an OpenCLIP model and links its configuration, weights and tokenizer into one folder for the export."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ingrain.errors import InvalidRequestError, UnsupportedModelError
from ingrain.libraries import LIBRARIES, FileRules
from ingrain.machine_faults import raise_if_machines
from ingrain.progress import Progress
from ingrain.sources.files import CONFIG_ONLY, TOKENIZER_ONLY, file_rules
from ingrain.sources.hub import Hub, Snapshot, fetch_model
from ingrain.sources.local import link_files, list_files, local_folder
from ingrain.sources.model_source import ResolvedSource, SourceSpec
from ingrain.sources.names import check_repo_id, check_revision, without_hub_prefix
from ingrain.sources.pretrained_weights import CLIP_PICKLED, CLIP_WEIGHTS, clip_weights

_FACTS = LIBRARIES["open_clip"]
CONFIG = _FACTS.config_file
# The export reads the configuration of a text tower from transformers here.
TEXT_CONFIG = Path("text_config") / "config.json"
# Folder of links below the spec's output, for a model whose parts come from several folders.
LINKED_FOLDER = "source"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

Report = Callable[[Progress], None]


def resolve_clip(spec: SourceSpec, progress: Report) -> ResolvedSource:
    """Find a model as OpenCLIP would: a local folder, ``hf-hub:organization/name``, or an architecture with a tag.

    If the configuration names a tokenizer or a text tower in another repository, that is fetched too. Parts from
    several folders are linked into one folder below the spec's output.

    Raises:
        InvalidRequestError: The name is malformed, or it does not allow ``pretrained`` or ``revision``.
        SourceNotFoundError: There is no such model.
        SourceForbiddenError: The hub requires a token, or refuses the given one.
        SourceUnavailableError: The hub cannot be reached, or the download failed.
        UnsupportedModelError: The weights have an unsupported format.
    """
    if spec.revision is not None:
        check_revision(spec.revision)
    folder = _local(spec)
    if folder is not None:
        _refuse(spec, "pretrained", "revision", reason="a local folder")
        progress(Progress(phase="download", detail="local folder"))
        config = _read_config(folder)
        return _resolved(spec, _with_text_tower(spec, folder, config), None)
    if spec.name.startswith(_FACTS.hub_prefixes):
        _refuse(spec, "pretrained", reason="a model on the hub")
        return _from_hub(spec, progress)
    return _published(spec, progress)


def resolve_custom_clip(spec: SourceSpec, folder: Path) -> Path:
    """Link a custom source's files and the hub's tokenizer and text tower that its configuration names into one folder.

    Args:
        spec: The model.
        folder: The custom source's files.

    Raises:
        InvalidRequestError: The configuration names a tokenizer or text tower with a malformed hub id.
        SourceNotFoundError, SourceForbiddenError, SourceUnavailableError: That part cannot be downloaded.
        UnsupportedModelError: The configuration cannot be read.
    """
    config = _read_config(folder)
    own_tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    return _assemble(spec, _Parts(config, folder / CLIP_WEIGHTS, folder if own_tokenizer else None))


def _local(spec: SourceSpec) -> Path | None:
    folder = local_folder(spec)
    # A local folder `ViT-B-32` may be a model of another library; without open_clip_config.json it is ignored.
    is_published = bool(spec.pretrained) and not spec.name.startswith(str(_FACTS.local_prefix))
    return None if folder is not None and is_published and not (folder / CONFIG).is_file() else folder


def _from_hub(spec: SourceSpec, progress: Report) -> ResolvedSource:
    repo_id = check_repo_id(without_hub_prefix(spec.name, "open_clip"), spec.name)
    rules = file_rules("open_clip", pickled_weights=spec.pickled_weights)
    snapshot = _fetch(spec, repo_id, rules, progress, revision=spec.revision)
    config = _read_config(snapshot.folder)
    return _downloaded(spec, config, repo_id, snapshot, (CLIP_WEIGHTS, CLIP_PICKLED))


def _published(spec: SourceSpec, progress: Report) -> ResolvedSource:
    found = clip_weights(spec.name, spec.pretrained)
    rules = replace(
        file_rules("open_clip", pickled_weights=spec.pickled_weights),
        weights=re.compile(re.escape(found.file)),
        pickles=re.compile(re.escape(found.pickled)),
    )
    snapshot = _fetch(spec, found.repo_id, rules, progress, revision=spec.revision)
    return _downloaded(spec, found.config, found.repo_id, snapshot, (found.file, found.pickled))


def _downloaded(
    spec: SourceSpec, config: dict[str, Any], repo_id: str, snapshot: Snapshot, weights: tuple[str, str]
) -> ResolvedSource:
    """Assemble a model from a snapshot; ``weights`` are the file names of safetensors and, if missing, pickle."""
    safetensors, pickled = (snapshot.folder / name for name in weights)
    own_tokenizer = without_hub_prefix(str(_text_config(config).get("hf_tokenizer_name") or ""), "open_clip") == repo_id
    parts = _Parts(
        config, safetensors if safetensors.is_file() else pickled, snapshot.folder if own_tokenizer else None
    )
    return _resolved(spec, _assemble(spec, parts), snapshot.commit)


def _resolved(spec: SourceSpec, folder: Path, commit: str | None) -> ResolvedSource:
    origin: Literal["local", "hub"] = "hub" if commit else "local"
    return ResolvedSource(folder=folder, commit=commit, repository=spec.name, origin=origin)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The configuration and weights of a model, and the tokenizer's folder if it was found already."""

    config: dict[str, Any]
    weights: Path
    tokenizer: Path | None


def _assemble(spec: SourceSpec, parts: _Parts) -> Path:
    """Link the parts of a model into one folder, in the layout that OpenCLIP's ``local-dir:`` reads."""
    folder = Path(spec.output) / LINKED_FOLDER
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(parts.config))
    name = CLIP_WEIGHTS if parts.weights.suffix == ".safetensors" else CLIP_PICKLED
    (folder / name).symlink_to(parts.weights.resolve())
    text = _text_config(parts.config)
    if tokenizer_name := text.get("hf_tokenizer_name"):
        tokenizer = parts.tokenizer or _fetch_part(spec, str(tokenizer_name), TOKENIZER_ONLY)
        for file in tokenizer.iterdir():
            if file.is_file() and file.name != CONFIG and file.suffix not in _WEIGHT_SUFFIXES:
                (folder / file.name).symlink_to(file.resolve())
    return _with_text_tower(spec, folder, parts.config)


def _with_text_tower(spec: SourceSpec, folder: Path, config: dict[str, Any]) -> Path:
    """Return a folder that also has the configuration of a text tower from transformers, if the model has one."""
    name = _text_config(config).get("hf_model_name")
    if not name or (folder / TEXT_CONFIG).is_file():
        return folder
    if folder.parent != Path(spec.output):
        # Do not change a user's own folder.
        links = Path(spec.output) / LINKED_FOLDER
        link_files(folder, list_files(folder), links)
        folder = links
    found = _fetch_part(spec, str(name), CONFIG_ONLY)
    (folder / TEXT_CONFIG).parent.mkdir(exist_ok=True)
    (folder / TEXT_CONFIG).symlink_to((found / "config.json").resolve())
    return folder


def _fetch_part(spec: SourceSpec, name: str, rules: FileRules) -> Path:
    """Fetch a tokenizer, or the configuration of a text tower, that a model's configuration names."""
    repo_id = check_repo_id(without_hub_prefix(name, "open_clip"), name)
    return _fetch(spec, repo_id, rules, lambda _: None, revision=None).folder


def _fetch(spec: SourceSpec, repo_id: str, rules: FileRules, progress: Report, *, revision: str | None) -> Snapshot:
    return fetch_model(
        repo_id,
        revision=revision,
        hub=Hub(token=spec.token, offline=spec.offline),
        progress=progress,
        rules=rules,
    )


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
            f"The model has no readable {CONFIG}, so it is no OpenCLIP model.", param="name"
        ) from error
    return config if isinstance(config, dict) else {}


def _refuse(spec: SourceSpec, *fields: str, reason: str) -> None:
    for field in fields:
        if getattr(spec, field) is not None:
            raise InvalidRequestError(f"{spec.name!r} is {reason}; leave {field!r} out.", param=field)
