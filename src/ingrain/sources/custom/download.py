"""Downloads the files of a custom model from URLs and publishes them as a custom source."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import (
    FetchFailedError,
    FetchRefusedError,
    ModelConflictError,
    TooLargeError,
)
from ingrain.fetch.fetcher import Fetcher
from ingrain.fetch.policy import FetchPolicy
from ingrain.libraries import LIBRARIES
from ingrain.repository.custom import FILES_FOLDER, describe_source
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from ingrain.sources.custom import open_clip, sentence_transformers, timm
from ingrain.sources.custom.architecture import architecture_config
from ingrain.sources.custom.layout import Layout, check_name
from ingrain.sources.custom.safetensors_file import check_safetensors
from ingrain.sources.local import find_local
from ingrain.vocabulary import Library

LAYOUTS: dict[Library, Layout] = {
    "sentence_transformers": sentence_transformers.LAYOUT,
    "open_clip": open_clip.LAYOUT,
    "timm": timm.LAYOUT,
}

_WEIGHTS = "safetensorsUrl"
_AT_ONCE = 4
_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 30.0

logger = logging.getLogger("ingrain.sources")


@dataclass(slots=True, eq=False)
class Download:
    """A download in progress.

    Attributes:
        request: The client's request.
        key: The model's key in the repository.
        folder: Folder that the files are written to.
        param: Field of the request whose URL is being fetched.
    """

    request: DownloadCustomModelRequest
    key: str
    folder: Path
    param: str = _WEIGHTS

    def received_bytes(self) -> int:
        """Return the bytes written so far."""
        try:
            return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        except OSError:
            return 0  # the download has just ended and its folder was removed


@dataclass(slots=True, kw_only=True)
class Downloads:
    """Fetches custom models. Belongs to one event loop.

    Attributes:
        repository: Repository that the models are published to.
        fetcher: Fetches URLs by the policy for images, with longer timeouts.
        local_models_dir: Directory of local models; their names cannot be used.
        max_bytes: Size limit of the weights.
        timeout_s: Seconds for all files of a model.
    """

    repository: Repository
    fetcher: Fetcher
    local_models_dir: Path | None = None
    max_bytes: int
    timeout_s: float
    _in_progress: dict[str, Download] = field(default_factory=dict, init=False)

    @classmethod
    def make(
        cls,
        repository: Repository,
        policy: FetchPolicy,
        *,
        local_models_dir: Path | None,
        max_bytes: int,
        timeout_s: float,
    ) -> Downloads:
        """Create an instance that fetches from the hosts that ``policy`` allows, with longer timeouts."""
        policy = replace(
            policy,
            connect_timeout_s=_CONNECT_TIMEOUT_S,
            read_timeout_s=_READ_TIMEOUT_S,
            total_timeout_s=timeout_s,
            max_at_once=_AT_ONCE,
        )
        return cls(
            repository=repository,
            fetcher=Fetcher(policy),
            local_models_dir=local_models_dir,
            max_bytes=max_bytes,
            timeout_s=timeout_s,
        )

    async def aclose(self) -> None:
        """Close every connection; downloads in progress fail."""
        await self.fetcher.aclose()

    def in_progress(self) -> list[Download]:
        """Return the downloads of this process that have not ended."""
        return list(self._in_progress.values())

    async def download(self, request: DownloadCustomModelRequest) -> None:
        """Fetch a model's files, check them, and publish them as a custom source.

        Raises:
            InvalidRequestError: A field or the file at its URL is invalid; ``param`` names the field.
            ModelConflictError: The name is taken.
            FetchRefusedError: This server does not fetch from the URL's host.
            FetchFailedError: A host failed or was too slow.
            TooLargeError: A file is over its limit.
            MachineError: The disk is full.
            ExportUnavailableError: The name is an architecture, and its library is not installed.
        """
        check_name(request.name)
        LAYOUTS[request.library].check(request)
        if self.fetcher.policy.mode == "off":
            raise FetchRefusedError(
                f"This server fetches no URLs ({self.fetcher.policy.off_by}); put the model's folder below the "
                "directory of local models (INGRAIN_LOCAL_MODELS_DIR).",
                param=_WEIGHTS,
            )
        key = model_key(request.name, request.library, request.pretrained)
        with self.repository.try_changing(f"{key}.download") as free:
            if not free:
                raise _taken(request, "is being downloaded already; wait for it, or choose another name")
            await asyncio.to_thread(self._refuse_taken, request, key)
            with self.repository.staging() as folder:
                download = Download(request, key, folder / "source" / FILES_FOLDER)
                self._in_progress[key] = download
                try:
                    await self._fetch_all(download)
                    await asyncio.to_thread(self._publish, download)
                finally:
                    del self._in_progress[key]
        logger.info("Custom model %r has been downloaded", request.name)

    async def _fetch_all(self, download: Download) -> None:
        """Fetch and check the small files first, so that their errors are reported before the weights are fetched."""
        request, layout = download.request, LAYOUTS[download.request.library]
        download.folder.mkdir(parents=True)
        architecture = None
        if request.config_json_url is None:
            architecture = await architecture_config(request.library, request.name)
        logger.info("Custom model %r is being downloaded", request.name)
        wire_names = {info.name: info.encode_name for info in msgspec.structs.fields(request)}
        try:
            async with asyncio.timeout(self.timeout_s):
                for field_name, side_file in layout.side_files.items():
                    url, download.param = getattr(request, field_name), wire_names[field_name]
                    if url is not None:
                        path = download.folder / side_file.path
                        path.parent.mkdir(exist_ok=True)
                        await self._fetch(url, path, side_file.max_bytes, download.param)
                        await asyncio.to_thread(side_file.check, path, download.param)
                await asyncio.to_thread(layout.complete, request, download.folder, architecture)
                download.param = _WEIGHTS
                weights = download.folder / LIBRARIES[request.library].weights_file
                await self._fetch_weights(request.safetensors_url, weights)
        except TimeoutError as error:
            raise FetchFailedError(
                f"{download.param} could not be fetched: the model's files took longer than {self.timeout_s:g} seconds "
                "(INGRAIN_DOWNLOAD_TIMEOUT_S).",
                param=download.param,
            ) from error
        await asyncio.to_thread(check_safetensors, weights, _WEIGHTS)

    async def _fetch(self, url: str, path: Path, max_bytes: int, param: str) -> None:
        # The caller's asyncio.timeout is the deadline; the fetcher's own timeout must only be later.
        await self.fetcher.fetch_to_file(url, path, max_bytes=max_bytes, param=param, timeout_s=2 * self.timeout_s)

    async def _fetch_weights(self, url: str, path: Path) -> None:
        try:
            await self._fetch(url, path, self.max_bytes, _WEIGHTS)
        except TooLargeError as error:
            raise TooLargeError(
                f"The file at {_WEIGHTS} has more than {self.max_bytes} bytes (INGRAIN_MAX_DOWNLOAD_BYTES).",
                param=_WEIGHTS,
                facts={"limit": self.max_bytes},
            ) from error

    def _publish(self, download: Download) -> None:
        request, staged = download.request, download.folder.parent
        describe_source(
            staged,
            name=request.name,
            library=request.library,
            pretrained=request.pretrained,
            created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        with self.repository.try_changing(download.key) as free:
            if not free:
                raise _being_loaded(request)
            self._refuse_taken(request, download.key, claimed=True)
            self.repository.publish_custom(staged, download.key)

    def _refuse_taken(self, request: DownloadCustomModelRequest, key: str, *, claimed: bool = False) -> None:
        """Raise if there is a model of this name already, damaged or not."""
        if (self.repository.custom.folder / key).exists():
            raise _taken(
                request,
                "has been downloaded already; load it with POST /load_model, or remove it with DELETE /delete_model",
            )
        if (self.repository.models / key).exists():
            raise _taken(
                request, "is in the model repository; remove it with DELETE /delete_model, or choose another name"
            )
        if self.local_models_dir is not None and find_local(request.name, self.local_models_dir) is not None:
            raise _taken(
                request,
                "is a folder below the directory of local models (INGRAIN_LOCAL_MODELS_DIR); choose another name",
            )
        if not claimed:
            with self.repository.try_changing(key) as free:
                if not free:
                    raise _being_loaded(request)


def _being_loaded(request: DownloadCustomModelRequest) -> ModelConflictError:
    return _taken(request, "is being loaded or unloaded; wait for it, or choose another name")


def _taken(request: DownloadCustomModelRequest, why: str) -> ModelConflictError:
    return ModelConflictError(f"{request.library} model {request.name!r} {why}.", param="name")
