"""`ingrain keys`: makes, lists and revokes the keys of a keys file, on this machine."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec

from ingrain.cli.connect import say
from ingrain.cli.parsers import add_command, add_json_flag, positive
from ingrain.errors import SettingsError
from ingrain.server.keys.entry import KeyEntry, digest_of
from ingrain.server.keys.file import SETTING, change_keys, is_read_by_others, read_keys
from ingrain.vocabulary import Scope

_RANDOM_BYTES = 32
_LEAST_LENGTH, _LEAST_CHARACTERS = 32, 10
_PREFIX = "ingrain-"
_EXAMPLES = """\
examples:
  ingrain keys add search --model 'intfloat/*' --requests-per-minute 600 --file keys.json
  ingrain keys add ops --scope models --scope metrics --expires 2027-12-31 --file keys.json
  ingrain keys list --file keys.json
  ingrain keys revoke search --file keys.json

A running server that has the file as INGRAIN_KEYS_FILE follows each change within two seconds.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = add_command(commands, "keys", "make, list and revoke API keys", list_keys, examples=_EXAMPLES)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    adding = add_command(actions, "add", "make a key and print it, once", add, examples=_EXAMPLES)
    adding.add_argument("name", help="name of the key in logs and metrics: letters, digits, `.`, `_` and `-`.")
    adding.add_argument(
        "--scope",
        action="append",
        choices=get_args(Scope),
        help="what the key opens; may be given several times. Default: infer.",
    )
    adding.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="a model that the key may use, or a pattern such as 'intfloat/*'; may be given several times. "
        "Default: all.",
    )
    adding.add_argument("--requests-per-minute", type=positive, metavar="N", help="limit of requests. Default: none.")
    adding.add_argument("--tokens-per-minute", type=positive, metavar="N", help="limit of tokens. Default: none.")
    adding.add_argument(
        "--expires",
        metavar="DATE",
        help="last day (2027-01-31, UTC), or a time (2027-01-31T12:00Z). Default: never.",
    )
    adding.add_argument("--stdin", action="store_true", help="read the key from standard input, instead of making one.")
    listing = add_command(actions, "list", "list the keys of a file, without secrets", list_keys, examples=_EXAMPLES)
    revoking = add_command(actions, "revoke", "remove a key from a file", revoke, examples=_EXAMPLES)
    revoking.add_argument("name", help="name of the key.")
    for action in (adding, listing, revoking):
        action.add_argument("--file", type=Path, metavar="FILE", help=f"the keys file. Default: {SETTING}.")
        add_json_flag(action)


def add(options: dict[str, object]) -> int:
    """Add a key; standard output gets nothing but the key."""
    path, name = _file(options), str(options["name"])
    key = _read_key() if options["stdin"] else _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    fields = {
        "name": name,
        "sha256": digest_of(key.encode()).hex(),
        "scopes": list(dict.fromkeys(options["scope"] or ["infer"])),  # type: ignore[call-overload]  # argparse's list
        "models": options["model"],
        "requestsPerMinute": options["requests_per_minute"],
        "tokensPerMinute": options["tokens_per_minute"],
        "expires": options["expires"],
        "created": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    try:
        entry = msgspec.convert(fields, KeyEntry)
    except msgspec.ValidationError as error:
        raise SettingsError(f"The key cannot be added: {error}.") from error

    def added(keys: tuple[KeyEntry, ...]) -> tuple[KeyEntry, ...]:
        for one in keys:
            if one.name == name:
                raise SettingsError(f"{os.fspath(path)!r} has a key {name!r}; choose another name.", param="name")
            if one.sha256 == entry.sha256:
                raise SettingsError(f"The key is that of {one.name!r} already.", param="--stdin")
        return (*keys, entry)

    change_keys(path, added)
    as_json = options["json"]
    if not as_json and not options["stdin"]:
        print("The key is shown only now; the file has its hash:", file=sys.stderr)
    shown = {} if options["stdin"] else {"key": key}
    say({"name": name, **shown}, as_json=as_json, text=key if shown else f"Key {name} is added.")
    return 0


def list_keys(options: dict[str, object]) -> int:
    """List the keys with their limits and expiry."""
    path = _file(options)
    keys = read_keys(path)
    if is_read_by_others(path):
        print(f"ingrain: every user of this machine can read {path}; change its mode to 0600.", file=sys.stderr)
    rows = [("NAME", "SCOPES", "MODELS", "REQUESTS/MIN", "TOKENS/MIN", "EXPIRES")]
    rows += [
        (
            key.name,
            ",".join(key.scopes),
            ",".join(key.models or ("all",)),
            str(key.requests_per_minute or "-"),
            str(key.tokens_per_minute or "-"),
            (key.expires or "never") + (" (expired)" if _has_expired(key) else ""),
        )
        for key in keys
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    told = [{**msgspec.to_builtins(key), "expired": _has_expired(key)} for key in keys]
    for one in told:
        del one["sha256"]
    say({"keys": told}, as_json=options["json"], text="\n".join(lines))
    return 0


def revoke(options: dict[str, object]) -> int:
    """Remove a key."""
    path, name = _file(options), str(options["name"])

    def without(keys: tuple[KeyEntry, ...]) -> tuple[KeyEntry, ...]:
        kept = tuple(key for key in keys if key.name != name)
        if len(kept) == len(keys):
            raise SettingsError(f"{os.fspath(path)!r} has no key {name!r}.", param="name")
        return kept

    change_keys(path, without)
    say({"name": name}, as_json=options["json"], text=f"Key {name} is revoked.")
    return 0


def _file(options: dict[str, object]) -> Path:
    given = options["file"] or os.environ.get(SETTING, "").strip()
    if not given:
        raise SettingsError(f"Which file? Give --file, or set {SETTING}.", param="--file")
    return Path(str(given)).expanduser()


def _has_expired(key: KeyEntry) -> bool:
    return key.expires_at is not None and time.time() >= key.expires_at


def _read_key() -> str:
    """Read a key made elsewhere.

    Raises:
        SettingsError: It may be guessed, as a plain hash is no protection for a key of few bits.
    """
    key = sys.stdin.readline().strip()
    fits_a_header = key.isascii() and key.isprintable() and " " not in key
    if len(key) < _LEAST_LENGTH or len(set(key)) < _LEAST_CHARACTERS or not fits_a_header:
        raise SettingsError(
            f"The key could be guessed, or a header cannot hold it: it needs {_LEAST_LENGTH} or more random characters "
            f"of ASCII without spaces, {_LEAST_CHARACTERS} of them different. Without --stdin a good key is made.",
            param="--stdin",
        )
    return key
