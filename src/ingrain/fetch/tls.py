"""Makes the TLS context of the fetcher, and says why a host's certificate was refused."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from ingrain.errors import SettingsError

_SETTING = "INGRAIN_FETCH_CA_FILE"
# OpenSSL's numbers of the reasons (X509_V_ERR_*).
_REASONS = {
    9: "it is not valid yet",
    10: "it has expired",
    62: "it is for another host name",
    64: "it is for another address",
}
_UNKNOWN_AUTHORITY = f"no trusted authority has issued it ({_SETTING} adds authorities)"


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that trusts the public authorities, and those of a PEM file if one is given.

    Raises:
        SettingsError: The file cannot be read or holds no certificate.
    """
    context = httpx.create_ssl_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no certificate in PEM format" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"{_SETTING} is {str(ca_file)!r}, which cannot be used: {why}.", param=_SETTING) from error
    return context


def why_refused(error: BaseException) -> str | None:
    """Return why a certificate was refused, as the end of a sentence; None if another error caused ``error``."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return None if cause is None else _REASONS.get(cause.verify_code, _UNKNOWN_AUTHORITY)
