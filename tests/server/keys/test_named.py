"""Keys of the file as requests send them."""

import time

import pytest

from ingrain.errors import AuthenticationError, ExpiredKeyError, PermissionDeniedError
from ingrain.server.keys.named import KnownKey, NamedKeys
from ingrain.server.keys.windows import WindowTable
from ingrain.server.plane.auth import KeyRing
from keys_files import entry, header

AUTHORIZATION = header("reader")["authorization"].encode()


@pytest.fixture
def named():
    """The keys of a file with one key, which expires."""
    named = NamedKeys(WindowTable.alone())
    named.replace([KnownKey(entry("reader", expires="2027-01-31T12:00:00Z"), 0)])
    return named


def test_a_key_that_was_used_is_checked_each_time(named, monkeypatch):
    now = 1_801_396_799.0  # 2027-01-31T11:59:59Z
    monkeypatch.setattr(time, "time", lambda: now)
    ring = KeyRing({}, named)
    assert ring.check("infer", AUTHORIZATION) is ring.check("infer", AUTHORIZATION) is not None
    with pytest.raises(PermissionDeniedError):
        ring.check("models", AUTHORIZATION)
    now += 1
    with pytest.raises(ExpiredKeyError):
        ring.check("infer", AUTHORIZATION)


def test_a_key_that_was_used_is_unknown_once_it_is_removed(named, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    ring = KeyRing({}, named)
    assert ring.check("infer", AUTHORIZATION) is not None
    named.replace([])
    with pytest.raises(AuthenticationError):
        ring.check("infer", AUTHORIZATION)


def test_headers_that_spell_a_key_in_many_ways_are_not_kept(named, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    ring = KeyRing({}, named)
    for spaces in range(1, 100):
        assert ring.check("infer", AUTHORIZATION.replace(b" ", b" " * spaces)) is not None
    assert list(named.by_header) == [AUTHORIZATION]
