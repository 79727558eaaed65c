"""Receives a text as a user wrote it, hands on the text that OpenCLIP's tokenizers split."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Sequence
from typing import Literal

import ftfy

Clean = Literal["none", "clip_lower", "clip_whitespace", "clip_canonicalize"]

# Nothing in such a text can be mended: no character beyond ASCII, no control character but white space, no entity.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean_texts(texts: Sequence[str], how: Clean) -> Sequence[str]:
    """Clean texts as a tokenizer of OpenCLIP does before it splits them.

    Args:
        texts: Any number of texts.
        how: ``none``; ``clip_lower`` (CLIP's own tokenizer), ``clip_whitespace`` (Hugging Face tokenizers in OpenCLIP)
            or ``clip_canonicalize`` (SigLIP).

    Returns:
        As many texts, in order.
    """
    if how == "none":
        return texts
    finish = _FINISH[how]
    return [finish(_mend(text)) for text in texts]


def _mend(text: str) -> str:
    """Repair mojibake and resolve HTML entities, twice as OpenCLIP does (``&amp;amp;``).

    ftfy costs more than the tokenizer itself, and most texts give it nothing to do.
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
