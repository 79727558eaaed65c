"""The keys file: what is refused, and how it is changed."""

import stat
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from ingrain.errors import SettingsError
from ingrain.server.keys import watched
from ingrain.server.keys.entry import expiry_of
from ingrain.server.keys.file import change_keys, is_read_by_others, read_keys
from ingrain.server.keys.watched import WatchedKeys
from ingrain.server.keys.windows import WindowTable
from keys_files import entry, write_keys

GOOD = msgspec.to_builtins(entry("a"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "a b"}, r"\$\.keys\[0\]\.name"),
        ({"name": "a\n"}, r"\$\.keys\[0\]\.name"),
        ({"sha256": "secret"}, r"\$\.keys\[0\]\.sha256"),
        ({"scopes": []}, r"\$\.keys\[0\]\.scopes"),
        ({"scopes": ["everything"]}, "everything"),
        ({"models": []}, r"\$\.keys\[0\]\.models"),
        ({"model": "org/a"}, "unknown field `model`"),
        ({"requestsPerMinute": 0}, "requestsPerMinute"),
        ({"expires": "tomorrow"}, "expires is 'tomorrow'"),
        ({"expires": "2027-01-31T12:00:00"}, "expires is"),
        ({"models": ["org/a"], "scopes": ["metrics"]}, "metrics"),
    ],
    ids=str,
)
def test_a_key_that_is_not_clear_is_refused_and_named(tmp_path, fields, told):
    path = tmp_path / "keys.json"
    path.write_bytes(msgspec.json.encode({"keys": [{**GOOD, **fields}]}))
    with pytest.raises(SettingsError, match=told) as caught:
        read_keys(path)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "content", ["", "[]", '{"keys": {}}', '{"format": 2, "keys": []}', "\xff", "[" * 5000], ids=repr
)
def test_other_content_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content, "latin-1")
    with pytest.raises(SettingsError, match="INGRAIN_KEYS_FILE"):
        read_keys(path)


def test_names_and_keys_are_unique(tmp_path):
    path = tmp_path / "keys.json"
    for two in ([GOOD, GOOD], [GOOD, {**GOOD, "name": "b"}]):
        path.write_bytes(msgspec.json.encode({"keys": two}))
        with pytest.raises(SettingsError, match="'a'"):
            read_keys(path)


def test_a_new_key_does_not_get_the_windows_of_one_that_has_just_been_removed(tmp_path, monkeypatch):
    """A worker that has not heard of the removal still counts there."""
    monkeypatch.setattr(watched, "_ROWS", 4)
    path = write_keys(tmp_path / "keys.json", entry("a"), entry("b"))
    keys = WatchedKeys(path, WindowTable.alone())
    rows = []
    for names in ("ab", "cd", "ef", "aecd"):
        write_keys(path, *map(entry, names))
        keys.reload()
        rows.append({known.entry.name: known.number % 4 for known in keys.known})
    assert rows[0] == {"a": 0, "b": 1}
    assert rows[1] == {"c": 2, "d": 3}
    assert rows[2] == {"e": 0, "f": 1}
    assert (rows[3]["e"], len(set(rows[3].values()))) == (0, 4)  # where room is short, they are all used


def test_changes_at_the_same_time_are_all_kept_and_only_the_owner_can_read_them(tmp_path):
    path = tmp_path / "keys.json"
    write_keys(path)
    path.chmod(0o644)
    assert is_read_by_others(path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: change_keys(path, lambda keys: (*keys, entry(f"k{n}"))), range(40)))
    assert {one.name for one in read_keys(path)} == {f"k{n}" for n in range(40)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {".keys.json.lock", "keys.json"}


@pytest.mark.parametrize(("before", "after"), [(0o640, 0o640), (0o660, 0o640), (0o600, 0o600), (0o644, 0o600)], ids=oct)
def test_a_group_that_could_read_the_file_can_read_the_changed_one(tmp_path, before, after):
    """Else a server of another user would never hear that a key was revoked."""
    path = write_keys(tmp_path / "keys.json", entry("a"))
    path.chmod(before)
    change_keys(path, lambda _: ())
    assert stat.S_IMODE(path.stat().st_mode) == after


def test_a_change_that_fails_leaves_the_file_as_it_is(tmp_path):
    path = write_keys(tmp_path / "keys.json", entry("a"))
    before = path.read_bytes()

    def fail(_):
        raise SettingsError("no")

    with pytest.raises(SettingsError, match="no"):
        change_keys(path, fail)
    assert path.read_bytes() == before


def test_a_day_is_valid_to_its_end():
    assert expiry_of("2027-01-31") == expiry_of("2027-02-01T00:00:00Z") == expiry_of("2027-02-01T01:00:00+01:00")
