"""What the documents say exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingrain.settings import describe

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# Read by the client, by the exporter, by the hub's own library or by Compose, not by our settings.
OTHER_VARIABLES = {
    "INGRAIN_API_KEY",
    "INGRAIN_BIND",
    "INGRAIN_EXPORT_THREADS",
    "INGRAIN_INFERENCE_URL",
    "INGRAIN_MATCH_REQUEST_IDS",
    "INGRAIN_MODEL_API_KEY",
    "INGRAIN_MODEL_BIND",
    "INGRAIN_MODEL_URL",
    "INGRAIN_TAG",
    "INGRAIN_TARGET",
}


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as a forge writes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def ids(document: Path) -> str:
    """Name a document in the test's name."""
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_relative_links_lead_somewhere(document):
    """Each relative link names a file of the tree, and each anchor a heading of that file."""
    dead = []
    for link in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.parent.name != "measurements"], ids=ids)
def test_python_files_in_the_documents_exist(document):
    """Every path of a Python file that a document names is there, from the root or in the package; history aside."""
    told = set(re.findall(r"`((?:[\w-]+/)+\w+\.py)`", document.read_text(encoding="utf-8")))
    places = (ROOT, ROOT / "src" / "ingrain")
    assert {path for path in told if not any((place / path).exists() for place in places)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_make_verbs_in_the_documents_exist(document):
    """Every `make VERB` that a document tells people to run is a verb of the Makefile."""
    verbs = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    told = set(re.findall(r"(?:`|^\s*|\$ )make ([a-z]+)", document.read_text(encoding="utf-8"), re.MULTILINE))
    assert told <= verbs


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_variables_in_the_documents_are_settings(document):
    """Every INGRAIN_… variable that a document names is read by the server, or by the Compose file."""
    told = set(re.findall(r"\bINGRAIN_[A-Z_]+[A-Z]\b", document.read_text(encoding="utf-8")))
    assert told - OTHER_VARIABLES <= {setting.env for setting in describe()}


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
