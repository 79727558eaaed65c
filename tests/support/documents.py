"""Examples of the documents, as programs to run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def examples(document: str, language: str, section: str | None = None) -> list[str]:
    """Return the code blocks of one language in a document, or in the section with this heading."""
    text = (ROOT / document).read_text("utf-8")
    if section is not None:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
