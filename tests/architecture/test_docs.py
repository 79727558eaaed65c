"""What the documents say exists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from ingrain.settings import describe

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# Read by the client, by the exporter, by the hub's own library or by Compose, not by our settings.
OTHER_VARIABLES = {
    "INGRAIN_API_KEY",
    "INGRAIN_AXE",
    "INGRAIN_BIND",
    "INGRAIN_EXPORT_THREADS",
    "INGRAIN_INFERENCE_URL",
    "INGRAIN_MATCH_REQUEST_IDS",
    "INGRAIN_MODEL_API_KEY",
    "INGRAIN_MODEL_BIND",
    "INGRAIN_MODEL_URL",
    "INGRAIN_SCREENSHOTS",
    "INGRAIN_TAG",
    "INGRAIN_TARGET",
}


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as a forge writes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def wrong_in(documents: Iterable[Path], find: Callable[[Path, str], Iterable[str]]) -> dict[str, list[str]]:
    """Return what ``find`` finds in the text of each document, by its path; nothing of one that has nothing."""
    found = {str(path.relative_to(ROOT)): sorted(find(path, path.read_text(encoding="utf-8"))) for path in documents}
    return {path: wrong for path, wrong in found.items() if wrong}


def test_relative_links_lead_somewhere():
    """Each relative link names a file of the tree, and each anchor a heading of that file."""
    anchors_of = cache(anchors)

    def dead(document: Path, text: str) -> Iterator[str]:
        for link in LINK.findall(FENCE.sub("", text)):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not target.exists() or (anchor and anchor not in anchors_of(target)):
                yield link

    assert wrong_in(DOCUMENTS, dead) == {}


def test_python_files_in_the_documents_exist():
    """Every path of a Python file that a document names is there, from the root or in the package; history aside."""
    places = (ROOT, ROOT / "src" / "ingrain")

    def missing(_: Path, text: str) -> Iterator[str]:
        told = set(re.findall(r"`((?:[\w-]+/)+\w+\.py)`", text))
        return (path for path in told if not any((place / path).exists() for place in places))

    assert wrong_in((path for path in DOCUMENTS if path.parent.name != "measurements"), missing) == {}


def test_make_verbs_in_the_documents_exist():
    """Every `make VERB` that a document tells people to run is a verb of the Makefile."""
    verbs = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    told = re.compile(r"(?:`|^\s*|\$ )make ([a-z-]+)", re.MULTILINE)
    assert wrong_in(DOCUMENTS, lambda _, text: set(told.findall(text)) - verbs) == {}


def test_variables_in_the_documents_are_settings():
    """Every INGRAIN_… variable that a document names is read by the server, or by the Compose file."""
    known = OTHER_VARIABLES | {setting.env for setting in describe()}
    assert wrong_in(DOCUMENTS, lambda _, text: set(re.findall(r"\bINGRAIN_[A-Z_]+[A-Z]\b", text)) - known) == {}


def test_every_document_is_reached_from_the_index():
    """Links lead from docs/index.md to every other document below docs/, over other documents if need be."""
    docs = ROOT / "docs"
    reached, waiting = set(), {docs / "index.md"}
    while waiting:
        document = waiting.pop()
        reached.add(document)
        links = LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
        targets = {(document.parent / link.partition("#")[0]).resolve() for link in links}
        waiting |= targets & set(DOCUMENTS) - reached
    assert {path for path in DOCUMENTS if path.is_relative_to(docs)} - reached == set()
