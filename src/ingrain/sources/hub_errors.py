"""Turns errors of huggingface_hub and of the disk into ours, by type and status, and says which may pass."""

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

_PASSING_STATUS = {408, 416, 425, 429, 500, 502, 503, 504}
_FIRST_DELAY_S, _LONGEST_DELAY_S, _LONGEST_RETRY_AFTER_S = 0.5, 8.0, 60.0
_MOST_BROKEN = 2
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
    """Raise Ingrain's error in place of another library's, within the block.

    Args:
        repo_id: The model's id on the hub.
        revision: Branch, tag or commit asked for, if one was.

    Raises:
        SourceNotFoundError: No such model, or no such revision of it; or offline mode is on.
        SourceForbiddenError: A token is missing, wrong, or may not read this model.
        SourceUnavailableError: The hub cannot be reached or is out of order.
        MachineError: The cache cannot take the files.
    """
    try:
        yield
    except HfHubHTTPError as error:
        raise _from_answer(error, repo_id, revision) from error
    except OfflineModeIsEnabled as error:
        raise offline_error(repo_id, revision) from error
    except HTTPError as error:
        raise SourceUnavailableError(
            f"The hub cannot be reached, or broke off while {repo_id!r} was fetched. Check the network and "
            "HF_ENDPOINT; what was fetched is kept, and the next try goes on from there.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    except OSError as error:
        raise _from_disk(error, repo_id) from error


def offline_error(repo_id: str, revision: str | None) -> SourceNotFoundError:
    """Return the error of a model that is not in the cache while the hub may not be asked."""
    at = f" at revision {revision!r}" if revision else ""
    return SourceNotFoundError(
        f"Offline mode is on, and {repo_id!r}{at} is not complete in the hub's cache. Switch offline mode off "
        "(HF_HUB_OFFLINE), or put the model's folder below the directory of local models.",
        param="name",
    )


def why_unreachable(error: HTTPError) -> str | None:
    """Return why no connection to the hub comes about, and what to do; None where there was one."""
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


def retry_delay_s(error: HTTPError, failures: int, *, most: int) -> float | None:
    """Return the seconds to wait before the next try, or None where another try would not help.

    Args:
        error: What the last try ended with.
        failures: How many tries in a row have failed, this one included.
        most: After how many of them to give up.
    """
    if failures > most:
        return None
    delay_s: float = min(_FIRST_DELAY_S * 2 ** (failures - 1), _LONGEST_DELAY_S)
    if isinstance(error, HfHubHTTPError):
        asked_s = retry_after_s(error) or 0.0
        is_passing = error.response.status_code in _PASSING_STATUS and asked_s <= _LONGEST_RETRY_AFTER_S
        return max(delay_s, asked_s) if is_passing else None
    # Most of these huggingface_hub raises after several tries of its own; a reset it raises at once.
    return None if failures > _MOST_BROKEN or why_unreachable(error) else delay_s


def retry_after_s(error: HfHubHTTPError) -> float | None:
    """Return the seconds that the hub asks to wait, where it says so in seconds."""
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
        # The hub gives one answer for a model that is not there and for a private one, so that nobody can tell.
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
