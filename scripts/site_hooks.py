"""Hooks of the documentation site: folders in its navigation, and what links from docs/ to other files lead to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Documents beside docs/ that the site has as pages of its own.
BESIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#\s]+)(#[^)\s]*)?\)")
_INSIDE = re.compile(r"\]\(docs/")


def on_config(config: Any) -> Any:
    """Write out the entries of the navigation that stand for the other pages of a folder (``design/*``)."""
    config.nav = _written_out(config.nav, Path(config.docs_dir))
    return config


def _written_out(entries: list[Any], docs: Path) -> list[Any]:
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            found += [
                {title: _written_out(below, docs) if isinstance(below, list) else below}
                for title, below in entry.items()
            ]
        elif entry.endswith("/*"):
            pages = (path.relative_to(docs).as_posix() for path in sorted(docs.glob(f"{entry}.md")))
            found += [page for page in pages if page not in entries]
        else:
            found.append(entry)
    return found


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the documents beside docs/ as pages."""
    for name, page in BESIDE.items():
        text = _INSIDE.sub("](", (ROOT / name).read_text(encoding="utf-8"))
        for other, other_page in BESIDE.items():
            text = text.replace(f"]({other}", f"]({other_page}")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to those documents to their pages; others that leave docs/, such as to code, become plain text."""
    depth = page.file.src_uri.count("/")

    def lead(link: re.Match[str]) -> str:
        if link[0].count("../") <= depth:
            return link[0]
        text, name, anchor = link[1], link[2], link[3] or ""
        target = BESIDE.get(name) or ("quick-start.md" if name == "README.md" else None)
        return f"[{text}]({'../' * depth}{target}{anchor if name in BESIDE else ''})" if target else text

    return _OUTSIDE.sub(lead, markdown)
