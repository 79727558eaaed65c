"""Splits Japanese texts into words with MeCab, as transformers' ``BertJapaneseTokenizer`` does."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ingrain.errors import RepositoryError
from ingrain.install_hint import install_hint
from ingrain.repository.manifest import JapaneseWords


def missing_packages(rules: JapaneseWords) -> list[str]:
    """Return the import names of the packages that word splitting needs and that are not installed."""
    return [name for name in ("fugashi", rules.dictionary) if find_spec(name) is None]


def word_splitter(rules: JapaneseWords, whole: Iterable[str]) -> Callable[[str], str]:
    """Return a function that normalizes a text (NFKC, lower case) and separates its words, found by MeCab, by spaces.

    Args:
        rules: The model's word splitting rules.
        whole: Tokens that are never split or changed, such as ``[MASK]``.

    Returns:
        A thread-safe function.

    Raises:
        RepositoryError: The packages are not installed.
    """
    if missing := missing_packages(rules):
        raise RepositoryError(
            f"The model's texts are split into Japanese words by {' and '.join(missing)}, which this installation "
            f"lacks: {install_hint('japanese')}."
        )
    folder = import_module(rules.dictionary).DICDIR
    tagger: Any = import_module("fugashi").GenericTagger(f'-d "{folder}" -r "{Path(folder) / "mecabrc"}"')
    lock = threading.Lock()  # a tagger processes one text at a time
    kept = frozenset(whole)
    # Longest first, because one token may be a prefix of another.
    around = re.compile("(" + "|".join(re.escape(token) for token in sorted(kept, key=len, reverse=True)) + ")")

    def words(text: str) -> list[str]:
        if rules.normalize:
            text = unicodedata.normalize("NFKC", text)
        with lock:
            found = [str(word.surface) for word in tagger(text)]
        return [word.lower() for word in found] if rules.lower else found

    def split(text: str) -> str:
        parts = around.split(text) if kept else [text]
        return " ".join(word for part in parts if part for word in ([part] if part in kept else words(part)))

    return split
