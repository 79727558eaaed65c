"""Fetches the files of a model from the hub into its cache."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, hf_hub_url, is_offline_mode
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import build_hf_headers

from ingrain.errors import SourceUnavailableError, UnsupportedModelError
from ingrain.libraries import FileRules
from ingrain.progress import Progress
from ingrain.sources.cache import COMMIT, ModelCache
from ingrain.sources.download import Blob, download
from ingrain.sources.download_progress import DownloadProgress
from ingrain.sources.files import choose_files, is_weights
from ingrain.sources.hub_errors import offline_error, translated, why_unreachable
from ingrain.sources.hub_retry import LISTING_RETRIES, retry_delay_s
from ingrain.sources.local import is_plain_relative, list_files

logger = logging.getLogger("ingrain.sources")

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Report = Callable[[Progress], None]


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or str(constants.ENDPOINT)


def _cache_dir() -> Path:
    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The hub to download from and the cache to download into.

    Attributes:
        endpoint: URL of the hub; ``HF_ENDPOINT``, else the public hub.
        cache_dir: Cache shared with all libraries that use the hub; ``HF_HUB_CACHE`` or ``HF_HOME``.
        token: For gated and private models; None for the token that the hub's own tools have stored, if any.
        offline: True to use only the cache. ``HF_HUB_OFFLINE`` does the same.
    """

    endpoint: str = field(default_factory=_endpoint)
    cache_dir: Path = field(default_factory=_cache_dir)
    token: str | None = field(default=None, repr=False)
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A model in the cache, at one commit (40 hex digits)."""

    folder: Path
    commit: str


def fetch_model(
    repo_id: str,
    *,
    revision: str | None,
    rules: FileRules,
    hub: Hub,
    progress: Report,
    before_weights: Callable[[Snapshot], None] = lambda _: None,
) -> Snapshot:
    """Fetch the files of a model that are not in the cache yet.

    If the hub cannot be reached and the cache has a complete snapshot, that snapshot is used.

    Args:
        repo_id: The model's id on the hub.
        revision: Branch, tag or commit; None for the main branch.
        rules: Which files to fetch.
        hub: The hub.
        progress: Called with bytes done and in total, over all files.
        before_weights: Called when the side files are there, before weights are fetched; may raise to refuse the model.

    Raises:
        SourceNotFoundError: No such model or revision, or it is not in the cache and offline mode is on.
        SourceForbiddenError: The hub requires a token, or refuses the given one.
        SourceUnavailableError: The hub cannot be reached, or the download failed after all retries.
        UnsupportedModelError: The weights have an unsupported format; nothing was fetched.
    """
    cache = ModelCache.of(hub.cache_dir, repo_id)
    if hub.offline or is_offline_mode():
        if cached := _cached(cache, repo_id, revision, rules):
            return cached
        raise offline_error(repo_id, revision)
    try:
        commit, blobs = _listing(repo_id, revision, rules, hub, progress)
    except SourceUnavailableError as error:
        if cached := _cached(cache, repo_id, revision, rules):
            logger.warning("%s Using commit %s from the cache.", error, cached.commit)
            return cached
        raise
    snapshot = Snapshot(folder=cache.snapshot(commit), commit=commit)
    with translated(repo_id, revision):
        missing = [blob for blob in blobs if not cache.has(commit, blob.path, blob.digest)]
        meter = DownloadProgress(progress, total_bytes=sum(blob.size_bytes for blob in blobs))
        meter.finish(sum(blob.size_bytes for blob in blobs if blob not in missing), "files in the cache")
        cache.drop_old_partials()
        _check_disk(cache, missing)
        headers = build_hf_headers(token=hub.token, library_name="ingrain")
        weights = [blob for blob in blobs if is_weights(blob.path, rules)]
        for part in (blobs[: len(blobs) - len(weights)], weights):
            wanted = [blob for blob in part if blob in missing]
            if wanted and part is weights:
                before_weights(snapshot)
            for blob in wanted:
                download(blob, cache, headers=headers, progress=meter)
                meter.finish(blob.size_bytes, blob.path)
            # Link only when all are downloaded, so that a snapshot with weights has all of them.
            for blob in part:
                cache.link(commit, blob.path, blob.digest)
        # Last, so that a revision in the cache always points to a complete model.
        cache.write_ref(revision or constants.DEFAULT_REVISION, commit)
    return snapshot


def _listing(
    repo_id: str, revision: str | None, rules: FileRules, hub: Hub, progress: Report
) -> tuple[str, list[Blob]]:
    """Ask the hub for the commit and the files of a revision, and choose the files to download."""
    try:
        with translated(repo_id, revision):
            info = _model_info(repo_id, revision, hub, progress)
    except (ValueError, TypeError, KeyError) as error:
        # The response is not the hub's JSON: perhaps a proxy's login page, or HF_ENDPOINT is not a hub.
        raise _malformed(repo_id) from error
    commit = str(info.sha)
    siblings = {str(sibling.rfilename): sibling for sibling in info.siblings or ()}
    # Commit, paths and digests become paths in the cache, so values of a broken or hostile hub must stop here.
    if not COMMIT.fullmatch(commit) or not all(map(is_plain_relative, siblings)):
        raise _malformed(repo_id)
    chosen = choose_files(siblings, rules, model=repo_id)
    blobs = [_blob(siblings[path], commit, repo_id, hub) for path in chosen]
    if not all(_DIGEST.fullmatch(blob.digest) and blob.size_bytes >= 0 for blob in blobs):
        raise _malformed(repo_id)
    return commit, blobs


def _model_info(repo_id: str, revision: str | None, hub: Hub, progress: Report) -> Any:
    """Ask the hub for a model's files. Do not retry without a connection, so that offline use starts quickly."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token, library_name="ingrain")
    failures = 0
    while True:
        try:
            return api.model_info(
                repo_id, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
        except HTTPError as error:
            if reason := why_unreachable(error):
                raise SourceUnavailableError(
                    f"The hub {urlsplit(api.endpoint).hostname} cannot be reached, so {repo_id!r} cannot be fetched: "
                    f"{reason}, or put the model's folder below the directory of local models "
                    "(INGRAIN_LOCAL_MODELS_DIR)."
                ) from error
            failures += 1
            delay_s = retry_delay_s(error, failures, max_retries=LISTING_RETRIES)
            if delay_s is None:
                raise
        progress(Progress(phase="download", detail="the hub answered with an error; retrying"))
        time.sleep(delay_s)


def _malformed(repo_id: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"HF_ENDPOINT did not answer like a Hugging Face hub when asked for the files of {repo_id!r}. Check "
        "HF_ENDPOINT and the proxy."
    )


def _blob(sibling: Any, commit: str, repo_id: str, hub: Hub) -> Blob:
    path = str(sibling.rfilename)
    return Blob(
        path=path,
        url=str(hf_hub_url(repo_id, path, revision=commit, endpoint=hub.endpoint)),
        size_bytes=int(sibling.lfs.size if sibling.lfs else sibling.size if sibling.size is not None else -1),
        digest=str(sibling.lfs.sha256 if sibling.lfs else sibling.blob_id),
    )


def _check_disk(cache: ModelCache, missing: list[Blob]) -> None:
    """Raise an OSError (ENOSPC) if the cache's disk has too little space for the download."""
    have = sum(partial.stat().st_size for blob in missing if (partial := cache.partial(blob.digest)).is_file())
    cache.folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(cache.folder).free < sum(blob.size_bytes for blob in missing) - have:
        raise OSError(errno.ENOSPC, "not enough space for the download")


def _cached(cache: ModelCache, repo_id: str, revision: str | None, rules: FileRules) -> Snapshot | None:
    """Return a revision's snapshot in the cache; None unless it is complete."""
    commit = cache.read_ref(revision or constants.DEFAULT_REVISION)
    if commit is None:
        return None
    folder = cache.snapshot(commit)
    paths = list_files(folder)
    try:
        # Raises if another library has fetched only some files.
        chosen = choose_files(paths, rules, model=repo_id)
    except UnsupportedModelError:
        return None
    is_whole = chosen and all(_shards_are_there(folder / path) for path in paths if _is_read(path, chosen))
    return Snapshot(folder=folder, commit=commit) if is_whole else None


def _is_read(index: str, chosen: list[str]) -> bool:
    """Return True for an index of shards that are read: always for safetensors, for pickles only if chosen."""
    if not index.endswith(".bin.index.json"):
        return index.endswith(".safetensors.index.json")
    return any(Path(path).parent == Path(index).parent and path.endswith(".bin") and "-of-" in path for path in chosen)


def _shards_are_there(index: Path) -> bool:
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        return False
    return all((index.parent / shard).is_file() for shard in shards)
