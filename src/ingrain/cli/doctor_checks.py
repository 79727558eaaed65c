"""The checks of `ingrain doctor`: one function per subject, which yields findings and how to fix them."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx

from ingrain.app.neighbour import is_ingrain
from ingrain.cli.machine import (
    TIMEOUT_S,
    gpus,
    is_installed,
    listens,
    memory_bytes,
    packages_of,
    places_of,
    why_not_bound,
)
from ingrain.cores import usable_cores
from ingrain.errors import MachineError, SettingsError
from ingrain.install_hint import install_hint
from ingrain.python_backend import cuda
from ingrain.repository.foreign import foreign_graphs
from ingrain.repository.object_storage.store import ObjectStore, is_url
from ingrain.server.http.tls import TlsCertificate
from ingrain.server.keys.file import is_read_by_others, read_keys
from ingrain.settings import Settings

Status = Literal["ok", "note", "warning", "failure"]

_EXTRAS = {
    "serve": "serve models that are stored already",
    "triton": "run the Triton that comes with it",
    "export": "convert models",
    "parquet": "read and write Parquet files",
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LEAST_FREE_BYTES = 5 * 10**9
_LEAST_MEMORY_BYTES = 4 * 10**9


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        subject: Checked object, in a word or two.
        status: ``failure`` if `ingrain serve` would not work.
        detail: The finding.
        cure: How to fix a problem.
    """

    subject: str
    status: Status
    detail: str
    cure: str | None = None


Check = Callable[[Settings], Iterator[Finding]]


def check_python(settings: Settings) -> Iterator[Finding]:
    """Check the Python version and the packages of each extra."""
    del settings
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", "ok", f"{version}, {sys.executable}")
    for extra, purpose in _EXTRAS.items():
        wanted = list(packages_of(extra))
        missing = sorted(name for name in wanted if not is_installed(name))
        subject = f"ingrain[{extra}]"
        if not wanted:
            continue  # the installed metadata is of another version, without this extra
        if not missing:
            yield Finding(subject, "ok", f"installed: it can {purpose}")
        else:
            yield Finding(
                subject,
                "failure" if extra == "serve" else "note",
                f"not installed, or not all of it ({', '.join(missing)}): it cannot {purpose}",
                cure=install_hint(extra),
            )


def check_engine(settings: Settings) -> Iterator[Finding]:
    """Check which engine would run the graphs, and why."""
    try:
        from ingrain.app.placement import placement_of
        from ingrain.app.tables import load_tables
    except ModuleNotFoundError:
        return  # check_python reports that ingrain[serve] is not installed
    try:
        placement = placement_of(settings, load_tables(settings.extensions).engines)
    except SettingsError as error:
        yield Finding("engine", "failure", error.message, cure=f"Change {error.param or 'INGRAIN_ENGINE'}.")
        return
    if not placement.on_this_machine:
        yield from _elsewhere(placement.description, placement.addresses)
        return
    batches = f"{placement.policy.instances} batches of a graph at a time, {placement.policy.threads} threads each"
    reason = placement.passed_over
    yield Finding(
        "engine",
        "note" if reason else "ok",
        f"{placement.description}, {batches}" + (f", for {reason}" if reason else ""),
        cure=f"{install_hint('triton')}: on Linux it brings the embedded Triton." if reason else None,
    )


def _elsewhere(description: str, addresses: Sequence[str]) -> Iterator[Finding]:
    """Check the servers of an engine that someone else runs; one of several is enough to serve."""
    found = {place: listens(place) for address in addresses for place in places_of(address)}
    is_there = not found or any(found.values())
    yield Finding(
        "engine",
        "ok" if is_there else "failure",
        description + ("" if is_there else ", where no server listens"),
        cure=None
        if is_there
        else "Start it, or correct TRITON_GRPC_URL; without the variable the embedded Triton is used.",
    )
    if len(found) < 2:
        return
    for place, does_listen in found.items():
        yield Finding(
            f"Triton {place}",
            "ok" if does_listen else "warning",
            "listens" if does_listen else "no server listens there",
            cure=None if does_listen else "Start it, or correct TRITON_GRPC_URL; the others serve until then.",
        )


def check_tls(settings: Settings) -> Iterator[Finding]:
    """Check the files of the TLS certificate."""
    try:
        tls = TlsCertificate.from_files(settings.tls_cert_file, settings.tls_key_file)
    except SettingsError as error:
        cure = f"Correct {error.param}, or unset both settings to serve plain HTTP."
        yield Finding("TLS certificate", "failure", error.message, cure=cure)
    else:
        if tls is not None:
            yield Finding("TLS certificate", "ok", str(settings.tls_cert_file))


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Check whether the ports are free or used by an Ingrain server."""
    ports = {
        "inference": settings.inference_port,
        "model": settings.model_port,
        "ollama": settings.ollama_port,
        "grpc": settings.grpc_port or None,
    }
    for plane, port in ports.items():
        if port is None:
            continue
        subject = f"{plane} port {port}"
        reason = why_not_bound(settings.host, port)
        if reason is None:
            yield Finding(subject, "ok", "free")
            continue
        scheme = "http" if settings.tls_cert_file is None else "https"
        # gRPC is no HTTP that could be asked: the port is Ingrain's if its inference port is.
        asked = settings.inference_port if plane == "grpc" else port
        if is_ingrain(settings.host, asked, scheme):
            yield Finding(subject, "ok", "an Ingrain server answers here")
        else:
            yield Finding(
                subject,
                "failure",
                f"cannot be listened on ({reason})",
                cure=f"Stop what is there, or set INGRAIN_{plane.upper()}_PORT.",
            )


def check_repository(settings: Settings) -> Iterator[Finding]:
    """Check that the model repository is writable and has enough free space."""
    from ingrain.app.placement import repository_folder

    folder = repository_folder(settings)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield Finding(
            "repository", "failure", f"{folder} cannot be written", cure="Set INGRAIN_REPOSITORY to a folder that can."
        )
        return
    free = shutil.disk_usage(there).free
    is_enough = free >= _LEAST_FREE_BYTES
    yield Finding(
        "repository",
        "ok" if is_enough else "warning",
        f"{folder}, {free / 1e9:.1f} GB free",
        cure=None if is_enough else "Converting a model takes several times its size; free some room.",
    )
    if is_url(settings.repository):
        try:
            ObjectStore(settings.repository).check()
        except (MachineError, SettingsError) as error:
            yield Finding("object storage", "failure", error.message, cure="docs/object-storage.md has the settings.")
        else:
            yield Finding("object storage", "ok", "the repository's bucket can be listed and written")
    if foreign := foreign_graphs(folder):
        yield Finding("other graphs", "note", f"left alone in the repository, of another program: {', '.join(foreign)}")
    if settings.local_models_dir is not None and not settings.local_models_dir.is_dir():
        yield Finding(
            "local models",
            "warning",
            f"{settings.local_models_dir} is no folder",
            cure="Correct INGRAIN_LOCAL_MODELS_DIR.",
        )


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Check cores, memory and the limit of open files."""
    yield Finding("CPU", "ok", f"{usable_cores()} cores may be used")
    memory = memory_bytes()
    if memory is not None:
        is_enough = memory >= _LEAST_MEMORY_BYTES
        yield Finding(
            "memory",
            "ok" if is_enough else "warning",
            f"{memory / 1e9:.1f} GB available",
            cure=None if is_enough else "Small models serve in 1 GB; converting them takes 3 GB or more.",
        )
    try:
        import resource
    except ModuleNotFoundError:
        return  # not a POSIX system
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < 2 * settings.max_requests:
        yield Finding(
            "open files",
            "warning",
            f"at most {files}, and INGRAIN_MAX_REQUESTS is {settings.max_requests}",
            cure=f"ulimit -n {4 * settings.max_requests}",
        )


def check_gpu(settings: Settings) -> Iterator[Finding]:
    """Check which GPUs the driver lists, and whether graphs can run on them."""
    wanted = settings.instance_kind == "KIND_GPU" or settings.tensorrt_enabled
    # A container may have the driver without nvidia-smi.
    names, reason = gpus() or list(cuda.gpu_names()), cuda.why_unusable()
    elsewhere = settings.triton_grpc_url is not None
    if not names:
        yield Finding(
            "GPU",
            "failure" if wanted and not elsewhere else "note",
            "none that the driver shows; graphs run on the CPU",
            cure="Install NVIDIA's driver, or set INSTANCE_KIND=KIND_CPU." if wanted else None,
        )
    elif reason is None or elsewhere or settings.instance_kind == "KIND_CPU":
        yield Finding("GPU", "ok", ", ".join(names))
    else:
        yield Finding(
            "GPU",
            "failure" if wanted else "warning",
            f"{', '.join(names)}, but graphs run on the CPU: {reason}",
            cure="docs/gpu.md says what graphs need on a GPU; INSTANCE_KIND=KIND_CPU does without.",
        )


def check_hub(settings: Settings) -> Iterator[Finding]:
    """Check whether the hub can be reached."""
    if settings.offline or settings.hub_offline:
        name = "INGRAIN_OFFLINE" if settings.offline else "HF_HUB_OFFLINE"
        yield Finding("hub", "note", f"{name} is on: only its cache is used")
        return
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    try:
        status = httpx.get(f"{endpoint}/api/models?limit=1", timeout=TIMEOUT_S, follow_redirects=True).status_code
        problem = None if status < 500 else f"answers {status}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = f"cannot be reached ({type(error).__name__})"
    if problem is None:
        token = "a token is set" if settings.hf_token else "no token: gated models cannot be downloaded"
        yield Finding("hub", "ok", f"{endpoint} answers; {token}")
    else:
        yield Finding(
            "hub",
            "warning",
            f"{endpoint} {problem}",
            cure="Check network, proxy (HTTPS_PROXY) and HF_ENDPOINT; or use INGRAIN_LOCAL_MODELS_DIR.",
        )


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Check that a server reachable from other machines requires keys."""
    has_keys = bool(settings.api_keys or settings.api_keys_file or settings.keys_file)
    if settings.host not in _LOOPBACK and not has_keys:
        yield Finding(
            "keys",
            "warning",
            f"none, and the server listens on {settings.host}: any client may load and delete models",
            cure="Set INGRAIN_KEYS_FILE (`ingrain keys add`) or INGRAIN_API_KEYS, or INGRAIN_HOST=127.0.0.1.",
        )
    else:
        yield Finding("keys", "ok", "set" if has_keys else "none; the server listens here only")


def check_keys_file(settings: Settings) -> Iterator[Finding]:
    """Check that the keys file can be used, who can read it, and whose keys have expired."""
    path = settings.keys_file
    if path is None:
        return
    try:
        keys = read_keys(path)
    except SettingsError as error:
        yield Finding("keys file", "failure", error.message, cure="`ingrain keys list` shows what a server would read.")
        return
    now = time.time()
    expired = [key.name for key in keys if key.expires_at is not None and key.expires_at <= now]
    if is_read_by_others(path):
        yield Finding("keys file", "warning", f"every user here can read {path}", cure=f"chmod 600 {path}")
    if len(expired) == len(keys):
        cure = f"ingrain keys add NAME --file {path}"
        yield Finding("keys file", "warning", "no key in it is valid: it opens nothing", cure=cure)
    elif expired:
        yield Finding("keys file", "note", f"{len(keys)} in it, expired: {', '.join(expired)}")
    else:
        yield Finding("keys file", "ok", f"{len(keys)} in it")


CHECKS: tuple[Check, ...] = (
    check_python,
    check_engine,
    check_tls,
    check_ports,
    check_repository,
    check_machine,
    check_gpu,
    check_hub,
    check_keys,
    check_keys_file,
)
"""All checks, in the order of the output."""
