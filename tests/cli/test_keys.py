"""`ingrain keys`: a key is shown once, its file holds no secret, and a server opens to it."""

import io
import json
import stat

import pytest

from ingrain.cli.main import main
from ingrain.server.keys.file import read_keys
from ingrain.server.keys.named import KnownKey, NamedKeys
from ingrain.server.keys.windows import WindowTable
from ingrain.server.plane.auth import KeyRing


@pytest.fixture
def keys(tmp_path, capsys, monkeypatch):
    """Run `ingrain keys` on a file; return its exit status, what it printed, and what it complained."""
    monkeypatch.setenv("INGRAIN_KEYS_FILE", str(tmp_path / "keys.json"))

    def run(*arguments: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        status = main(["keys", *arguments])
        printed, complained = capsys.readouterr()
        return status, printed.strip(), complained

    return run


def test_a_key_is_printed_once_and_opens_what_it_was_made_for(keys, tmp_path):
    status, key, told = keys(
        "add", "search", "--model", "org/*", "--requests-per-minute", "5", "--expires", "2999-12-31"
    )
    assert (status, len(key.split())) == (0, 1)
    assert "only now" in told
    path = tmp_path / "keys.json"
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    named = NamedKeys(WindowTable.alone())
    named.replace(KnownKey(entry, number) for number, entry in enumerate(read_keys(path)))
    found = KeyRing({}, named).check("infer", b"Bearer " + key.encode())
    assert (found.name, found.allows("org/a"), found.allows("other/a")) == ("search", True, False)


def test_the_list_shows_limits_and_expiry_and_no_hash(keys, tmp_path):
    keys("add", "one", "--scope", "models", "--scope", "infer", "--tokens-per-minute", "1000")
    keys("add", "two", "--expires", "2026-01-01")
    status, printed, _ = keys("list")
    assert status == 0
    assert [line.split() for line in printed.splitlines()[1:]] == [
        ["one", "models,infer", "all", "-", "1000", "never"],
        ["two", "infer", "all", "-", "-", "2026-01-01", "(expired)"],
    ]
    shown = json.loads(keys("list", "--json")[1])["keys"]
    assert [one["expired"] for one in shown] == [False, True]
    assert not any("sha256" in one for one in shown)
    (tmp_path / "keys.json").chmod(0o644)
    assert "can read" in keys("list")[2]


def test_a_revoked_key_is_gone_and_an_unknown_one_is_named(keys, tmp_path):
    keys("add", "one")
    assert keys("revoke", "one")[0] == 0
    assert read_keys(tmp_path / "keys.json") == ()
    status, _, told = keys("revoke", "one")
    assert (status, "'one'" in told) == (2, True)


def test_a_name_is_given_once(keys):
    assert keys("add", "one")[0] == 0
    status, printed, told = keys("add", "one")
    assert (status, printed) == (2, "")
    assert "another name" in told


@pytest.mark.parametrize(
    "given", ["", "hunter2", "a" * 40, "correct horse battery staple and more", "é" + "0123456789abcdef" * 2]
)
def test_a_key_that_could_be_guessed_is_refused(keys, tmp_path, given):
    status, printed, told = keys("add", "one", "--stdin", given=f"{given}\n")
    assert (status, printed) == (2, "")
    assert given == "" or given not in told
    assert not (tmp_path / "keys.json").exists()


def test_a_key_made_elsewhere_is_taken_and_not_shown(keys):
    key = "c0ffee0123456789abcdef9876543210"
    status, printed, told = keys("add", "one", "--stdin", given=f"{key}\n")
    assert status == 0
    assert key not in printed + told
    assert keys("add", "two", "--stdin", given=key)[0] == 2


@pytest.mark.parametrize(
    "flags", [("--expires", "soon"), ("--scope", "metrics", "--model", "a"), ("--model", "")], ids=" ".join
)
def test_what_cannot_be_meant_is_refused(keys, flags):
    assert keys("add", "one", *flags)[0] == 2
    assert keys("add", "../one")[0] == 2
