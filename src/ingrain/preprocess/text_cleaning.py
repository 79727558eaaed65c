"""Cleans texts as OpenCLIP's tokenizers do before they split them."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Sequence
from typing import Literal

import ftfy

Clean = Literal["none", "clip_lower", "clip_whitespace", "clip_canonicalize"]

# ftfy and HTML unescaping leave such a text as it is: ASCII, no control character but white space, no ``&``.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean_texts(texts: Sequence[str], clean: Clean) -> Sequence[str]:
    """Clean texts as an OpenCLIP tokenizer does.

    Args:
        texts: Any number of texts.
        clean: ``none``; ``clip_lower`` (CLIP's own tokenizer), ``clip_whitespace`` (Hugging Face tokenizers in
            OpenCLIP) or ``clip_canonicalize`` (SigLIP).

    Returns:
        As many texts, in order.
    """
    if clean == "none":
        return texts
    finish = _FINISH[clean]
    return [finish(_repair(text)) for text in texts]


def _repair(text: str) -> str:
    """Repair mojibake and resolve HTML entities, twice as OpenCLIP does (``&amp;amp;``).

    ftfy costs more than the tokenizer itself, so texts that it cannot change are skipped.
    """
    if _PLAIN.fullmatch(text):
        return text
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _whitespace(text: str) -> str:
    return " ".join(text.split())


def _lower(text: str) -> str:
    # Python's lower(): Rust's, in the tokenizers package, differs for the final sigma and the dotted capital I.
    return _whitespace(text).lower()


def _canonicalize(text: str) -> str:
    return _whitespace(text.replace("_", " ").translate(_PUNCTUATION).lower())


_FINISH: dict[str, Callable[[str], str]] = {
    "clip_lower": _lower,
    "clip_whitespace": _whitespace,
    "clip_canonicalize": _canonicalize,
}
