"""Translates errors of huggingface_hub and of the disk into Ingrain's errors, by type and HTTP status."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ingrain.errors import (
    DiskFullError,
    DiskUnusableError,
    IngrainError,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceUnavailableError,
)
from ingrain.machine_faults import machine_fault

RETRY_AFTER_S = 30.0

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
_UNREACHABLE: dict[type[OSError], str] = {
    socket.gaierror: "its name cannot be resolved. Check the network and HF_ENDPOINT",
    ConnectionRefusedError: "nothing listens at its address. Check HF_ENDPOINT and the proxy",
    ssl.SSLError: "its certificate is not trusted. Check HF_ENDPOINT and SSL_CERT_FILE",
    TimeoutError: "it does not answer in time. Check the network, HF_ENDPOINT and the proxy",
}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def translated(repo_id: str, revision: str | None) -> Iterator[None]:
    """Translate errors of huggingface_hub and of the disk that the block raises.

    Args:
        repo_id: The model's id on the hub.
        revision: Requested branch, tag or commit, if any.

    Raises:
        SourceNotFoundError: No such model or revision, or offline mode is on.
        SourceForbiddenError: The token is missing, wrong, or may not read this model.
        SourceUnavailableError: The hub cannot be reached or answered with an error.
        MachineError: The files cannot be written to the cache.
    """
    try:
        yield
    except HfHubHTTPError as error:
        raise _from_answer(error, repo_id, revision) from error
    except OfflineModeIsEnabled as error:
        raise offline_error(repo_id, revision) from error
    except HTTPError as error:
        raise SourceUnavailableError(
            f"The hub cannot be reached, or the connection broke while {repo_id!r} was fetched. Check the network and "
            "HF_ENDPOINT; what was fetched is kept, and the next attempt continues from there.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    except OSError as error:
        raise _from_disk(error, repo_id) from error


def offline_error(repo_id: str, revision: str | None) -> SourceNotFoundError:
    """Return the error for a model that is not in the cache while offline mode is on."""
    at = f" at revision {revision!r}" if revision else ""
    return SourceNotFoundError(
        f"Offline mode is on, and {repo_id!r}{at} is not complete in the hub's cache. Switch offline mode off "
        "(HF_HUB_OFFLINE, INGRAIN_OFFLINE), or put the model's folder below the directory of local models "
        "(INGRAIN_LOCAL_MODELS_DIR).",
        param="name",
    )


def why_unreachable(error: HTTPError) -> str | None:
    """Return why no connection to the hub can be made, and what to do; None for any other error."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
            return "there is no route to it. Check the network and HF_ENDPOINT"
        for kind, reason in _UNREACHABLE.items():
            if isinstance(cause, kind):
                return reason
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def retry_after_s(error: HfHubHTTPError) -> float | None:
    """Return the seconds of the response's ``Retry-After`` header; None if it is missing or a date."""
    value = error.response.headers.get("Retry-After", "").strip()
    return float(value) if value.isdigit() else None


def _from_answer(error: HfHubHTTPError, repo_id: str, revision: str | None) -> IngrainError:
    status = error.response.status_code
    if isinstance(error, RevisionNotFoundError):
        return SourceNotFoundError(f"{repo_id!r} has no revision {revision!r} on the hub.", param="revision")
    if isinstance(error, GatedRepoError):
        return SourceForbiddenError(
            f"{repo_id!r} is gated: accept its licence on the hub's page of the model, and set HF_TOKEN to a token of "
            "the account that did."
        )
    if isinstance(error, DisabledRepoError):
        return SourceForbiddenError(f"Access to {repo_id!r} has been disabled on the hub.")
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        # The hub gives the same response for a missing and for a private model, on purpose.
        return SourceNotFoundError(
            f"The hub has no model {repo_id!r}, or it is private: check the name, and for a private model set HF_TOKEN "
            "to a token that may read it.",
            param="name",
        )
    if status in {401, 403}:
        return SourceForbiddenError(
            f"The hub refuses access to {repo_id!r}: set HF_TOKEN to a valid token that may read it."
        )
    return SourceUnavailableError(
        f"The hub answered with status {status} when {repo_id!r} was fetched; try again later.",
        retry_after_s=retry_after_s(error) or RETRY_AFTER_S,
    )


def _from_disk(error: OSError, repo_id: str) -> IngrainError:
    fault = machine_fault(error)
    if isinstance(fault, DiskFullError):
        return DiskFullError(
            f"The disk of the hub's cache is full, so {repo_id!r} cannot be fetched. Free some space, or set HF_HOME "
            "to a folder on a larger disk.",
            retry_after_s=RETRY_AFTER_S,
        )
    if error.errno in _NOT_WRITABLE:
        return DiskUnusableError(
            f"The hub's cache cannot be written, so {repo_id!r} cannot be fetched. Set HF_HOME to a writable folder.",
            retry_after_s=RETRY_AFTER_S,
        )
    if fault is not None:
        return fault
    name = errno.errorcode.get(error.errno or 0, "no number")
    return SourceUnavailableError(
        f"Fetching {repo_id!r} failed while its files were read or written ({name}).",
        retry_after_s=RETRY_AFTER_S,
    )
