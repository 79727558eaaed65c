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
from ingrain.sources.hub_errors import offline_error, retry_delay_s, translated, why_unreachable
from ingrain.sources.local import is_plain_relative, list_files

logger = logging.getLogger("ingrain.sources")

_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LISTING_RETRIES = 2

Report = Callable[[Progress], None]


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or str(constants.ENDPOINT)


def _cache_dir() -> Path:
    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where models are fetched from, and where to.

    Attributes:
        endpoint: Its address; ``HF_ENDPOINT``, else the public hub.
        cache_dir: The cache that all libraries of the hub share; ``HF_HUB_CACHE`` or ``HF_HOME``.
        token: For gated and private models; None for the one that the hub's own tools have stored, if any.
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

    A hub that cannot be reached does not matter where the cache has the model as it was when last fetched.

    Args:
        repo_id: The model's id on the hub.
        revision: Branch, tag or commit; None for the main branch.
        rules: Which files to fetch.
        hub: The hub.
        progress: Called with bytes done and in total, over all files.
        before_weights: Called with the side files alone before the first weights are fetched; may refuse the model.

    Raises:
        SourceNotFoundError: No such model, or revision; or it is not in the cache and offline mode is on.
        SourceForbiddenError: A token is needed.
        SourceUnavailableError: The hub cannot be reached, or the download broke off too often.
        UnsupportedModelError: The weights are there in no form that is read; nothing has been fetched.
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
            logger.warning("%s Going on with commit %s from the cache.", error, cached.commit)
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
            # All at once, so that a snapshot that has weights has all of them.
            for blob in part:
                cache.link(commit, blob.path, blob.digest)
        # Last, so that a revision in the cache always stands for a complete model.
        cache.write_ref(revision or constants.DEFAULT_REVISION, commit)
    return snapshot


def _listing(
    repo_id: str, revision: str | None, rules: FileRules, hub: Hub, progress: Report
) -> tuple[str, list[Blob]]:
    """Ask the hub which commit a revision stands for and what it holds, and choose from that."""
    try:
        with translated(repo_id, revision):
            info = _model_info(repo_id, revision, hub, progress)
    except (ValueError, TypeError, KeyError) as error:
        # Not JSON, or not the hub's: a proxy's login page, an address that is no hub.
        raise _malformed(repo_id) from error
    commit = str(info.sha)
    siblings = {str(sibling.rfilename): sibling for sibling in info.siblings or ()}
    # Commit, paths and digests become paths in the cache, so a hub that is broken or hostile ends here.
    if not COMMIT.fullmatch(commit) or not all(map(is_plain_relative, siblings)):
        raise _malformed(repo_id)
    chosen = choose_files(siblings, rules, model=repo_id)
    blobs = [_blob(siblings[path], commit, repo_id, hub) for path in chosen]
    if not all(_DIGEST.fullmatch(blob.digest) and blob.size_bytes >= 0 for blob in blobs):
        raise _malformed(repo_id)
    return commit, blobs


def _model_info(repo_id: str, revision: str | None, hub: Hub, progress: Report) -> Any:
    """Ask the hub for a model's files; not again where there is no connection, for nothing of it is there yet."""
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
                    f"The hub cannot be reached, so {repo_id!r} cannot be fetched: {reason}, or put the model's folder "
                    "below the directory of local models."
                ) from error
            failures += 1
            delay_s = retry_delay_s(error, failures, most=_LISTING_RETRIES)
            if delay_s is None:
                raise
        progress(Progress(phase="download", detail="the hub is out of order; trying again"))
        time.sleep(delay_s)


def _malformed(repo_id: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"What was asked for the files of {repo_id!r} did not answer as the hub does. Check HF_ENDPOINT and the proxy."
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
    """Refuse a download that cannot fit before it starts.

    Raises:
        OSError: Without enough space on the cache's disk.
    """
    have = sum(partial.stat().st_size for blob in missing if (partial := cache.partial(blob.digest)).is_file())
    cache.folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(cache.folder).free < sum(blob.size_bytes for blob in missing) - have:
        raise OSError(errno.ENOSPC, "not enough space for the download")


def _cached(cache: ModelCache, repo_id: str, revision: str | None, rules: FileRules) -> Snapshot | None:
    """Return what the cache holds of a revision, where that is a whole model."""
    commit = cache.read_ref(revision or constants.DEFAULT_REVISION)
    if commit is None:
        return None
    folder = cache.snapshot(commit)
    paths = list_files(folder)
    try:
        # Another library may have fetched single files only.
        chosen = choose_files(paths, rules, model=repo_id)
    except UnsupportedModelError:
        return None
    is_whole = chosen and all(_shards_are_there(folder / path) for path in paths if _is_read(path, chosen))
    return Snapshot(folder=folder, commit=commit) if is_whole else None


def _is_read(index: str, chosen: list[str]) -> bool:
    """Return True for the index of shards; that of pickles matters only where these are what is read."""
    if not index.endswith(".bin.index.json"):
        return index.endswith(".safetensors.index.json")
    return any(Path(path).parent == Path(index).parent and path.endswith(".bin") and "-of-" in path for path in chosen)


def _shards_are_there(index: Path) -> bool:
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        return False
    return all((index.parent / shard).is_file() for shard in shards)
