"""The documentation site: its navigation, its diagrams, and, where its packages are installed, the site itself."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MKDOCS = ROOT / ".venv-site" / "bin" / "mkdocs"  # made by `make site`
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Settings(yaml.SafeLoader):
    """Reads mkdocs.yml, of which one value is made by a function of Python."""


Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def entries(part: object) -> list[str]:
    if isinstance(part, str):
        return [part]
    below = part.values() if isinstance(part, dict) else part
    return [entry for one in below for entry in entries(one)]


class Loaded(HTMLParser):
    """Collects what a page has the browser load; links to follow are none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in LOADING and given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(given.get(LOADING[tag]) or "")


def test_the_navigation_has_every_document():
    """`mkdocs build --strict` says the same, but its packages are seldom installed."""
    told = entries(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Settings)["nav"])
    folders = {entry.removesuffix("/*") for entry in told if entry.endswith("/*")}
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert {page for page in pages - set(told) if page.rpartition("/")[0] not in folders} == set()
    beside = {"changelog.md", "contributing.md", "security.md"}
    assert {entry for entry in told if not entry.endswith("/*")} - pages == beside


def test_the_diagrams_are_those_of_the_script():
    """Change scripts/diagrams.py and run it."""
    told = "import diagrams, json; print(json.dumps(diagrams.pictures()))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=environment)
    for name, text in yaml.safe_load(said.stdout).items():
        assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == text


def test_every_picture_is_shown_is_small_and_says_what_it_shows():
    shown = {}
    for page in DOCS.rglob("*.md"):
        for words, address in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            shown[(page.parent / address).resolve()] = words
    pictures = list((DOCS / "pictures").iterdir())
    assert set(shown) == set(pictures)
    assert all(len(words) > 20 for words in shown.values())
    assert max(picture.stat().st_size for picture in pictures) < 150_000
    assert sum(picture.stat().st_size for picture in pictures) < 1_000_000


@pytest.mark.slow
@pytest.mark.skipif(not MKDOCS.exists(), reason="the packages of the site are not installed: make site")
def test_the_site_is_built_and_loads_nothing_from_another_host(tmp_path):
    """Strictly: a dead link, a dead anchor or a page that the navigation lacks is an error."""
    program = [str(MKDOCS), "build", "--strict", "--site-dir", str(tmp_path)]
    subprocess.run(program, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    for page in tmp_path.rglob("*.html"):
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert [address for address in parser.addresses if "//" in address and not address.startswith("data:")] == []
    styles = "".join(style.read_text(encoding="utf-8") for style in tmp_path.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles)
