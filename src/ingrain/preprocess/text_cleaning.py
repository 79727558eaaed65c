"""Cleans texts as OpenCLIP's tokenizers do before tokenizing."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Sequence
from typing import Literal

Clean = Literal["none", "clip_lower", "clip_whitespace", "clip_canonicalize"]

# Matches texts that ftfy and HTML unescaping cannot change: ASCII without ``&`` and without control characters.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean_texts(texts: Sequence[str], clean: Clean) -> Sequence[str]:
    """Clean texts as an OpenCLIP tokenizer does.

    Args:
        texts: Any number of texts.
        clean: ``none``; ``clip_lower`` (CLIP's own tokenizer), ``clip_whitespace`` (Hugging Face tokenizers in
            OpenCLIP) or ``clip_canonicalize`` (SigLIP).

    Returns:
        The cleaned texts, in order.
    """
    if clean == "none":
        return texts
    finish = _FINISH[clean]
    return [finish(_repair(text)) for text in texts]


def _repair(text: str) -> str:
    """Repair mojibake and resolve HTML entities, twice as OpenCLIP does (``&amp;amp;``).

    ftfy takes longer than the tokenizer itself, so texts that it cannot change are skipped.
    """
    if _PLAIN.fullmatch(text):
        return text
    import ftfy  # its import takes as long as a sixth of all others, and few models need it

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _whitespace(text: str) -> str:
    return " ".join(text.split())


def _lower(text: str) -> str:
    # Python's lower() and that of Rust (tokenizers package) differ for the final sigma and the dotted capital I.
    return _whitespace(text).lower()


def _canonicalize(text: str) -> str:
    return _whitespace(text.replace("_", " ").translate(_PUNCTUATION).lower())


_FINISH: dict[str, Callable[[str], str]] = {
    "clip_lower": _lower,
    "clip_whitespace": _whitespace,
    "clip_canonicalize": _canonicalize,
}
