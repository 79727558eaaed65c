"""API keys and the scopes that each key grants."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import get_args

from ingrain.errors import AuthenticationError, PermissionDeniedError, SettingsError
from ingrain.server.keys.named import NamedKey, NamedKeys
from ingrain.vocabulary import Scope

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
    """API keys with their scopes. Without any key every scope is open, with one every scope needs a key.

    Args:
        keys: Scopes of the keys without names, by key.
        named: The keys of the keys file; None if there is no such file. With a file a key is needed, even if the file
            has none.

    Attributes:
        is_open: Whether no request needs a key.
    """

    def __init__(self, keys: Mapping[str, frozenset[Scope]], named: NamedKeys | None = None) -> None:
        self.named = named
        self._keys = {key.encode(): scopes for key, scopes in keys.items()}
        self.is_open = not keys and named is None

    def check(self, scope: Scope | None, authorization: bytes | None) -> NamedKey | None:
        """Check that a request may use a route.

        Args:
            scope: The scope that the route requires; None for routes that need no key.
            authorization: The request's ``Authorization`` header.

        Returns:
            The request's key, if it has a valid one with a name.

        Raises:
            AuthenticationError: The key is missing or wrong.
            ExpiredKeyError: It has expired.
            PermissionDeniedError: It lacks the scope.
        """
        if self.is_open or (scope is None and authorization is None):
            return None
        if scope is None:
            key = self._named(authorization)
            return None if key is None or key.has_expired else key
        return self._authenticate(authorization, scope)

    def grants(self, scope: Scope, authorization: bytes | None) -> bool:
        """Return whether a request that ``check`` has accepted for its route has another scope, too."""
        if self.is_open:
            return True
        key = self._named(authorization)
        scopes = key.known.entry.scopes if key is not None else self._find(_key_of(authorization))
        return scopes is not None and scope in scopes

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
            AuthenticationError: The key is missing, wrong or no longer valid.
        """
        if not self.is_open:
            self._authenticate(authorization, None)

    def _authenticate(self, authorization: bytes | None, scope: Scope | None) -> NamedKey | None:
        """Check a request's key, and that it has a scope unless that is None; return the key if it has a name.

        Raises:
            AuthenticationError: The key is missing, wrong or no longer valid.
            PermissionDeniedError: It lacks the scope.
        """
        key = self._named(authorization)
        if key is not None:
            key.check(scope)
            return key
        given = _key_of(authorization)
        scopes = self._find(given) if given else None
        if scopes is None:
            if self.named is not None:
                self.named.refuse_unknown()
            if not given:
                raise AuthenticationError("An API key is needed: send `Authorization: Bearer KEY`.")
            raise AuthenticationError(
                "The API key is not valid. Send one of this server's: `Authorization: Bearer KEY`."
            )
        if scope is not None and scope not in scopes:
            raise PermissionDeniedError(f"The API key lacks the scope {scope!r}.")
        return None

    def number(self, authorization: bytes | None) -> int:
        """Return the number of a request's key without a name, from 1; 0 if there are no such keys.

        Args:
            authorization: The ``Authorization`` header of a request that ``check`` has accepted.
        """
        if not self._keys:
            return 0
        given = _key_of(authorization)
        return sum(number for number, key in enumerate(self._keys, 1) if hmac.compare_digest(key, given))

    def _named(self, authorization: bytes | None) -> NamedKey | None:
        if self.named is None or authorization is None:
            return None
        if (key := self.named.by_header.get(authorization)) is not None:
            return key
        given = _key_of(authorization)
        key = self.named.find(given) if given else None
        if key is not None and authorization == b"Bearer " + given:  # one spelling only, so that no client can fill it
            self.named.by_header[authorization] = key
        return key

    def _find(self, given: bytes) -> frozenset[Scope] | None:
        """Return the scopes of a key. Compares with every key in constant time, against timing attacks."""
        found = None
        for key, scopes in self._keys.items():
            if hmac.compare_digest(key, given):
                found = scopes
        return found


def _key_of(authorization: bytes | None) -> bytes:
    """Return the key in an ``Authorization`` header; empty if there is none."""
    kind, _, given = (authorization or b"").partition(b" ")
    return given.strip() if kind.lower() == b"bearer" else b""


def parse_keys(
    keys: Iterable[str], file: Path | None = None, named: Callable[[int], NamedKeys] | None = None
) -> KeyRing:
    """Parse the keys of the setting and of the file; each is ``key`` or ``key:scope+scope``.

    Args:
        keys: The keys of the setting.
        file: File with further ones.
        named: Makes the keys with names from the first number that none of the others has; None if there are none.

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
    return KeyRing(ring, None if named is None else named(len(ring) + 1))


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
