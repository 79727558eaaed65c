"""Loads the TLS certificate of a server, and reloads it when its files change."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from ingrain.errors import SettingsError

_CERT, _KEY = "INGRAIN_TLS_CERT_FILE", "INGRAIN_TLS_KEY_FILE"

HANDSHAKE_TIMEOUT_S = 10.0
"""Timeout of the TLS handshake."""

SHUTDOWN_TIMEOUT_S = 5.0
"""Timeout for the client to confirm the end of a TLS connection."""

# OpenSSL's reasons if the key belongs to another certificate: one of the same key type, one of another type (RSA, EC).
_KEY_DOES_NOT_FIT = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}

log = logging.getLogger("ingrain.server")


class TlsCertificate:
    """A certificate chain and its private key, loaded from two PEM files.

    Attributes:
        context: SSL context for server connections; TLS 1.2 or newer.
        pem: Contents of the two files.

    Args:
        cert_file: The server's certificate, followed by the certificates of intermediate authorities.
        key_file: Private key of the certificate, not encrypted.

    Raises:
        SettingsError: A file cannot be used.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._files = cert_file, key_file
        self._version = [_version_of(path) for path in self._files]
        self.context = _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *self._files)
        self.pem = cert_file.read_bytes(), key_file.read_bytes()

    @classmethod
    def from_files(cls, cert_file: Path | None, key_file: Path | None) -> TlsCertificate | None:
        """Load a certificate; None if no files are given, which means no TLS.

        Raises:
            SettingsError: Only one of the two files is given, or a file cannot be used.
        """
        if cert_file is None and key_file is None:
            return None
        if cert_file is None or key_file is None:
            given, missing = (_KEY, _CERT) if cert_file is None else (_CERT, _KEY)
            raise SettingsError(f"{given} is set but {missing} is not; TLS needs both.", param=missing)
        return cls(cert_file, key_file)

    def reload_if_changed(self) -> None:
        """Reload the files if they have changed; new connections then use the new certificate.

        The old certificate stays if the new files cannot be used, e.g. because a renewal is not finished.
        """
        version = [_version_of(path) for path in self._files]
        if version == self._version:
            return
        self._version = version
        try:
            # A failed load may leave a context half changed, so the files are tried on another context first.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *self._files)
            _load(self.context, *self._files)
            self.pem = self._files[0].read_bytes(), self._files[1].read_bytes()
        except SettingsError as error:
            log.warning("The changed TLS certificate is not used: %s", error.message)
        else:
            log.info("The TLS certificate was reloaded")


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """Return inode, modification time and size, which change with the file's content or a symbolic link's target."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _load(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    for setting, path in ((_CERT, cert_file), (_KEY, key_file)):
        try:
            path.read_bytes()
        except OSError as error:
            raise _unusable(setting, path, f"it cannot be read ({error.strerror})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except _EncryptedKeyError as error:
        raise _unusable(_KEY, key_file, "the key is encrypted; write it without a passphrase") from error
    except ssl.SSLError as error:
        if not _holds_certificates(cert_file):
            raise _unusable(_CERT, cert_file, "it holds no certificate in PEM format") from error
        if error.reason in _KEY_DOES_NOT_FIT:
            raise _unusable(_KEY, key_file, f"the key does not belong to the certificate of {_CERT}") from error
        if error.reason is not None:
            raise _unusable(_CERT, cert_file, f"OpenSSL refuses it ({error.reason})") from error
        raise _unusable(_KEY, key_file, "it holds no private key in PEM format") from error
    return context


def _holds_certificates(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True


class _EncryptedKeyError(Exception):
    """The private key is encrypted."""


def _no_password() -> str:
    raise _EncryptedKeyError  # OpenSSL would prompt on the terminal


def _unusable(setting: str, path: Path, why: str) -> SettingsError:
    return SettingsError(f"{setting} is {os.fspath(path)!r}, which cannot be used: {why}.", param=setting)
