"""Ed25519 signatures of bundles' headers, with keys in PEM files as OpenSSL writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingrain.errors import BundleError, SettingsError
from ingrain.install_hint import install_hint

SIGNATURE_BYTES = 64


def sign(content: bytes, key_file: Path) -> bytes:
    """Return the signature of bytes by a private key without a password.

    Raises:
        SettingsError: The file has no such key, or the package for signatures is not installed.
    """
    serialization, ed25519, _ = _cryptography()
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(key_file, "private key without a password") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _unusable(key_file, "private key without a password")
    return bytes(key.sign(content))


def check_signature(signature: bytes | None, content: bytes, key_file: Path) -> None:
    """Check that the owner of a public key has signed bytes.

    Raises:
        SettingsError: The file has no such key, or the package for signatures is not installed.
        BundleError: There is no signature, or it is not that of these bytes by this key.
    """
    serialization, ed25519, invalid = _cryptography()
    try:
        key = serialization.load_pem_public_key(key_file.read_bytes())
    except (OSError, ValueError) as error:
        raise _unusable(key_file, "public key") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _unusable(key_file, "public key")
    if signature is None:
        raise BundleError("The bundle is not signed, but a public key was given that it must be signed for.")
    try:
        key.verify(signature, content)
    except invalid as error:
        raise BundleError("The bundle's signature is not that of the given public key.") from error


def _cryptography() -> tuple[Any, Any, type[Exception]]:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise SettingsError(f"Signatures need the package cryptography: {install_hint('signed-bundles')}") from error
    return serialization, ed25519, InvalidSignature


def _unusable(file: Path, kind: str) -> SettingsError:
    return SettingsError(f"{file.name} cannot be read, or is no PEM file with an Ed25519 {kind}.")
