"""API keys and the scopes that each key grants."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from ingrain.errors import AuthenticationError, PermissionDeniedError, SettingsError
from ingrain.server.plane.route import Scope

_SCOPES: tuple[Scope, ...] = get_args(Scope)
_KEY_HEADERS = (b"api-key", b"x-api-key")


def credentials(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return a request's ``Authorization`` header with its key.

    It is made of ``api-key`` or ``x-api-key`` if a client sends those, or of the password in the URL of a client that
    knows no key (``http://any:KEY@host``), which such clients send as Basic authentication.
    """
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:6].lower() == b"basic ":
        return b"Bearer " + _password(authorization[6:])
    if authorization is None:
        for name in _KEY_HEADERS:
            if name in headers:
                return b"Bearer " + headers[name]
    return authorization


def _password(given: bytes) -> bytes:
    """Return the password of Basic authentication (RFC 7617); empty if there is none."""
    try:
        return base64.b64decode(given).partition(b":")[2]
    except binascii.Error:
        return b""


class KeyRing:
    """API keys with their scopes. Without any key every scope is open, with one every scope needs a key."""

    def __init__(self, keys: Mapping[str, frozenset[Scope]]) -> None:
        self._keys = {key.encode(): scopes for key, scopes in keys.items()}

    def check(self, scope: Scope | None, authorization: bytes | None) -> None:
        """Check that a request may use a route.

        Args:
            scope: The scope that the route requires; None for routes that need no key.
            authorization: The request's ``Authorization`` header.

        Raises:
            AuthenticationError: The key is missing or wrong.
            PermissionDeniedError: The key lacks the scope.
        """
        if scope is None or not self._keys:
            return
        if scope not in self._authenticate(authorization):
            raise PermissionDeniedError(f"The API key lacks the scope {scope!r}.")

    def knows(self, authorization: bytes | None) -> bool:
        """Return whether a request has a key of any scope, or there are no keys."""
        try:
            self.check_any(authorization)
        except AuthenticationError:
            return False
        return True

    def check_any(self, authorization: bytes | None) -> None:
        """Check that a request has a key of any scope, if there are keys.

        Raises:
            AuthenticationError: The key is missing or wrong.
        """
        if self._keys:
            self._authenticate(authorization)

    def _authenticate(self, authorization: bytes | None) -> frozenset[Scope]:
        """Return the scopes of a request's key.

        Raises:
            AuthenticationError: The key is missing or wrong.
        """
        kind, _, given = (authorization or b"").partition(b" ")
        if kind.lower() != b"bearer" or not given.strip():
            raise AuthenticationError("An API key is needed: send `Authorization: Bearer KEY`.")
        scopes = self._find(given.strip())
        if scopes is None:
            raise AuthenticationError("The API key is not valid.")
        return scopes

    def number(self, authorization: bytes | None) -> int:
        """Return the number of a request's key, from 1; 0 if there are no keys.

        Args:
            authorization: The ``Authorization`` header of a request that ``check`` has accepted.
        """
        if not self._keys:
            return 0
        given = (authorization or b"").partition(b" ")[2].strip()
        return sum(number for number, key in enumerate(self._keys, 1) if hmac.compare_digest(key, given))

    def _find(self, given: bytes) -> frozenset[Scope] | None:
        """Return the scopes of a key. Compares with every key in constant time, against timing attacks."""
        found = None
        for key, scopes in self._keys.items():
            if hmac.compare_digest(key, given):
                found = scopes
        return found


def parse_keys(keys: Iterable[str], file: Path | None = None) -> KeyRing:
    """Parse the keys of the setting and of the file; each is ``key`` or ``key:scope+scope``.

    Raises:
        SettingsError: A scope is unknown, an entry has no key, or the file cannot be read or has no key. The message
            shows no key.
    """
    ring: dict[str, frozenset[Scope]] = {}
    for line in key_lines(keys, file):
        if line and not line.startswith("#"):
            key, _, names = line.partition(":")
            if not key:
                raise SettingsError("INGRAIN_API_KEYS has an entry with scopes, but no key before them.")
            ring[key] = ring.get(key, frozenset()) | _scopes(names)
    if file is not None and not ring:
        raise SettingsError("The file INGRAIN_API_KEYS_FILE holds no key.", param="INGRAIN_API_KEYS_FILE")
    return KeyRing(ring)


def key_lines(keys: Iterable[str], file: Path | None = None) -> list[str]:
    """Return the keys of the setting and the lines of the file, not parsed.

    Raises:
        SettingsError: The file cannot be read.
    """
    lines = list(keys)
    if file is not None:
        try:
            lines += [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                "The file INGRAIN_API_KEYS_FILE cannot be read.", param="INGRAIN_API_KEYS_FILE"
            ) from error
    return lines


def _scopes(names: str) -> frozenset[Scope]:
    wanted = names.split("+") if names else _SCOPES
    scopes = frozenset(scope for scope in _SCOPES if scope in wanted)
    if len(scopes) != len(set(wanted)):
        raise SettingsError(f"INGRAIN_API_KEYS has an unknown scope; the scopes are {', '.join(_SCOPES)}.")
    return scopes
